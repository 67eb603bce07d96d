package import Tokenization

extension DiffusionModel {
  /// The end of a prompt that none of the text encoders' 77 tokens (Toybox: 40) hold, nor further parts of it (`textParts`), in the
  /// tokenizer's spelling; nil for a prompt that fits. diffusers cuts off the same words of one part and logs a warning (pipelines:
  /// encode_prompt).
  public func overflow(of prompt: String) -> String? {
    textEncoders.compactMap { encoder in
      let tokenizer = encoder.tokenizer
      return tokenizer.overflow(of: prompt, maxLength: textParts * (tokenizer.configuration.modelMaxLength - 2) + 2)
    }.max { $0.count < $1.count }
  }
}

extension CLIPTokenizer {
  /// What ``encode(_:)`` cuts off, or would with another length; nil where nothing is.
  package func overflow(of text: String, maxLength: Int? = nil) -> String? {
    let rest = tokenIDs(of: text).dropFirst((maxLength ?? configuration.modelMaxLength) - 2)
    return rest.isEmpty ? nil : decode(Array(rest))
  }
}
