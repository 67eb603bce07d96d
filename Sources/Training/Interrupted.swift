/// The work was asked to stop. What was done is saved where `state` says so.
public struct Interrupted: Error, CustomStringConvertible {
  public let phase: String
  public let step: Int
  /// Where the work can go on from; nil when nothing was kept.
  public let state: String?

  public init(phase: String, step: Int, state: String?) {
    self.phase = phase
    self.step = step
    self.state = state
  }

  public var description: String {
    let saved = state.map { "; the state is in \($0), the same command continues from it" } ?? ""
    return "interrupted while \(phase), after step \(step)\(saved)"
  }
}
