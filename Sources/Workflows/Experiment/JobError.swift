/// What went wrong in a job of an experiment.
public struct JobError: Error, CustomStringConvertible {
  /// Such as `drawing dog-notebook by ZipLoRA`.
  public let title: String
  public let cause: any Error

  public var description: String { "\(title): \(cause)" }
}
