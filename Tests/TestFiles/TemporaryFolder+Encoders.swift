internal import Foundation

extension TemporaryFolder {
  /// A copy of a reference encoder of pictures; a CLIP with its tokenizer.
  public func copyEncoder(_ name: String) throws -> String {
    try FileManager.default.copyItem(atPath: "\(goldens)/encoders/\(name)", toPath: self(name))
    guard name == "clip" else { return self(name) }
    for file in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
      try FileManager.default.copyItem(atPath: "\(goldens)/tokenizer/\(file)", toPath: self("\(name)/\(file)"))
    }
    return self(name)
  }
}
