public import Torch

/// How well pictures agree with references or texts, by the cosines of their embeddings.
public enum Alignment {
  /// Mean cosine of each picture with all references: CLIP-I with a style's, DINO with a subject's
  /// (DreamBooth, arXiv 2208.12242, section 4.2: the mean over all pairs is the mean of these).
  ///
  /// - Parameters:
  ///   - pictures: directions, each [D] of length 1; likewise the references.
  public static func means(of pictures: [Tensor], with references: [Tensor]) -> [Double] {
    precondition(!references.isEmpty, "no references")
    return pictures.map { picture in
      references.map { (picture * $0).sum().item() }.reduce(0, +) / Double(references.count)
    }
  }

  /// Cosine of each picture with its own text: CLIP-T, neither scaled nor cut off at 0.
  public static func cosines(of pictures: [Tensor], with texts: [Tensor]) -> [Double] {
    precondition(pictures.count == texts.count, "\(pictures.count) pictures, \(texts.count) texts")
    return zip(pictures, texts).map { ($0 * $1).sum().item() }
  }
}

/// Words that mean something to a LoRA only, such as `sbu`, and nothing to an encoder of texts.
public struct RareTokens: Codable, Sendable, Equatable {
  public var words: [String]

  public init(_ words: [String]) { self.words = words }

  /// A prompt without these words, whatever their case; nil where it has none of them, or nothing else.
  public func removed(from prompt: String) -> String? {
    let rare = words.map { $0.lowercased() }
    let all = prompt.split(whereSeparator: \.isWhitespace)
    let kept = all.filter { word in
      !rare.contains(word.lowercased().trimmed)
    }
    return kept.count == all.count || kept.isEmpty ? nil : kept.joined(separator: " ")
  }
}

extension String {
  /// Without punctuation around it.
  fileprivate var trimmed: String {
    func isOutside(_ character: Character) -> Bool { character.isPunctuation }
    return String(drop(while: isOutside).reversed().drop(while: isOutside).reversed())
  }
}
