/// A loss or a gradient that is no longer a number.
public struct Diverged: Error, CustomStringConvertible {
  public let phase: String
  public let step: Int
  public let learningRate: Double

  public var description: String {
    "\(phase): the loss or its gradient is not finite at step \(step) (learning rate \(learningRate)); lower the learning rate"
  }
}
