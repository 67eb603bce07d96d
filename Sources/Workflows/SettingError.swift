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

  public static func == (left: SettingError, right: SettingError) -> Bool { left.description == right.description }
}
