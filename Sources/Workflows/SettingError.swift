internal import Merging

/// A setting that makes no sense, by itself or beside the others.
public struct SettingError: Error, CustomStringConvertible, Equatable {
  public let description: String
  /// What it is about, where that is the value of one option.
  package let option: (name: String, found: String, expected: String)?

  public init(_ description: String) { (self.description, option) = (description, nil) }

  /// - Parameter option: as the command line spells it, without the dashes.
  package init(_ option: String, _ found: some CustomStringConvertible, expected: String) {
    description = "--\(option) \(found): expected \(expected)"
    self.option = (option, "\(found)", expected)
  }

  /// - Parameter error: of a method's settings or of `ZipOptions`.
  init(_ error: MergeError) {
    if case .option(let name, let found, let expected) = error {
      self.init(name, found, expected: expected)
    } else {
      self.init(error.description)
    }
  }

  public static func == (left: SettingError, right: SettingError) -> Bool { left.description == right.description }
}
