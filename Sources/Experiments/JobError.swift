public import Foundation

/// What went wrong in a job of an experiment.
public struct JobError: Error, CustomStringConvertible, LocalizedError {
  /// Such as `drawing dog-notebook by ZipLoRA`.
  public let title: String
  public let cause: any Error

  public var description: String { "\(title): \(cause)" }
  // Foundation would call it "The operation could not be completed" wherever an app shows `localizedDescription`.
  public var errorDescription: String? { description }
}
