internal import Diffusion

/// What a run writes, and what it reads.
extension Demand {
  /// A file in a folder of pictures is one of them for the next run, which refuses it.
  ///
  /// - Parameters:
  ///   - pictures: folders or files, with the options that name them.
  ///   - path: of a file to be written, and `option` what names it.
  ///   - folder: that it will be in, where that is not told by the path.
  static func outside(
    _ pictures: [(option: String, path: String?)], _ path: String, _ option: String, folder: String? = nil
  ) throws(SettingError) {
    let folder = folder.map(Paths.resolved) ?? Paths.folder(of: path)
    for source in pictures {
      guard let read = source.path, "\(folder)/".hasPrefix("\(Paths.resolved(read))/") else { continue }
      throw SettingError(
        option, path, expected: "a place outside of \(read), where --\(source.option) takes every file for a picture")
    }
  }

  /// - Parameter others: files that are read or written, too, be they spelt otherwise.
  static func apart(
    _ path: String, _ option: String, from others: [String?], expected: String
  ) throws(SettingError) {
    let own = Paths.resolved(path)
    guard others.allSatisfy({ $0.map(Paths.resolved) != own }) else { throw SettingError(option, path, expected: expected) }
  }
}

extension BaseModel {
  /// What its parts are read from, as the user names it.
  var sources: [String?] { [source, choices.vae, choices.tokenizer, choices.configuration] }
}
