/// A LoRA file and how strongly it acts.
public struct WeightedFile: Codable, Sendable, Equatable {
  public var path: String
  public var weight: Double

  public init(_ path: String, weight: Double = 1) {
    self.path = path
    self.weight = weight
  }

  /// Reads `FILE` or `FILE:WEIGHT`. As a file's name may itself hold a colon, what follows the last one counts as a weight
  /// only if it is a number and there is no file of the whole name.
  ///
  /// - Throws: `SettingError` where what follows a file is no number.
  public init(argument: String) throws(SettingError) {
    self.init(argument)
    guard let colon = argument.lastIndex(of: ":"), !Paths.exists(argument) else { return }
    let (path, text) = (String(argument[..<colon]), String(argument[argument.index(after: colon)...]))
    if let weight = Double(text) {
      self.init(path, weight: weight)
    } else if Paths.exists(path) {
      throw SettingError("\"\(text)\" is no weight: expected a number, as in \(path):0.8")
    }
  }

  package func validate() throws(SettingError) { try Demand.finite(weight, "lora \(path):") }
}
