internal import Workflows

/// Where in a file the settings of a job stand, which say of themselves how the command line spells them.
struct SettingPlace {
  /// Whose they are, such as `row "ZipLoRA"`.
  var owner: String?
  /// Such as `training.subject`.
  var section = ""
  /// What the file calls options otherwise; from its top where there is a point in it.
  var names: [String: String] = [:]

  /// - Throws: `SettingError` in the file's words: `training.subject.rank` in place of `--rank`.
  func naming<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let error as SettingError {
      throw SettingError((owner.map { "\($0): " } ?? "") + text(of: error))
    }
  }

  private func text(of error: SettingError) -> String {
    guard let option = error.option else { return error.description }
    let name = names[option.name] ?? option.name
    let path = name.contains(".") || section.isEmpty ? name : "\(section).\(name)"
    return "\(path): found \(option.found); expected \(option.expected)"
  }
}
