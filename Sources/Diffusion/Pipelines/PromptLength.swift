internal import Tokenization

extension DiffusionModel {
  /// The end of a prompt that none of the text encoders' 77 tokens (Toybox: 40) hold, in the tokenizer's spelling; nil for a
  /// prompt that fits. diffusers cuts off the same words and logs a warning (pipelines: encode_prompt).
  public func overflow(of prompt: String) -> String? {
    textEncoders.compactMap { $0.tokenizer.overflow(of: prompt) }.max { $0.count < $1.count }
  }
}

extension CLIPTokenizer {
  /// What ``encode(_:)`` cuts off; nil where nothing is.
  func overflow(of text: String) -> String? {
    let rest = tokenIDs(of: text).dropFirst(configuration.modelMaxLength - 2)
    return rest.isEmpty ? nil : decode(Array(rest))
  }
}
