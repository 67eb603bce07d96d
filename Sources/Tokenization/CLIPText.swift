/// What happens to a text before its words are cut into tokens, scalar by scalar as transformers' `CLIPTokenizer` does it.
///
/// Source: transformers 5.23 models/clip/tokenization_clip.py on tokenizers 0.23. Two Unicode versions are pinned there and hence
/// here: letters and numbers are those of Unicode 16, canonical composition knows characters up to Unicode 9. Newer characters
/// are left alone, as they would be by a library that does not know them.
package enum CLIPText {
  typealias Scalars = ArraySlice<Unicode.Scalar>

  /// NFC, then every run of white space to one space, then lower case.
  package static func normalized(_ text: some Collection<Unicode.Scalar>) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count)
    var afterSpace = false
    for scalar in CanonicalComposition.composed(text) {
      let isSpace = Kind(scalar) == .space
      if !isSpace {
        appendLowercase(of: scalar, to: &result)
      } else if !afterSpace {
        result.append(" ")
      }
      afterSpace = isSpace
    }
    return result
  }

  /// The words of a normalized text as UTF-8: contractions, runs of letters, single numbers, runs of other symbols.
  ///
  /// White space separates and disappears. This is ``wordPattern`` followed by the pattern of GPT-2, which transformers applies
  /// to each match of the first, and which cuts only the two special tokens further.
  static func words(in text: Scalars) -> [[UInt8]] {
    var words: [[UInt8]] = []
    var rest = text
    func take(_ count: Int) {
      words.append(utf8(rest.prefix(count)))
      rest = rest.dropFirst(count)
    }
    while let first = rest.first {
      if first == "<", let pieces = specialTexts.first(where: { rest.starts(with: $0.joined()) }) {
        pieces.forEach { take($0.count) }
      } else if first == "'", let contraction = contractions.first(where: rest.starts(with:)) {
        take(contraction.count)
      } else {
        switch Kind(first) {
        case .space: rest = rest.dropFirst()
        case .number: take(1)
        case let kind: take(rest.prefix { Kind($0) == kind }.count)
        }
      }
    }
    return words
  }

  /// CLIP's regular expression for words, as `tokenizer.json` states it.
  static let wordPattern =
    #"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"#

  private static let contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].map { Array($0.unicodeScalars) }
  private static let specialTexts = ["startoftext", "endoftext"].map { name in
    ["<|", name, "|>"].map { Array($0.unicodeScalars) }
  }

  private static func utf8(_ scalars: Scalars) -> [UInt8] {
    scalars.flatMap { UTF8.encode($0)! }
  }

  private static func appendLowercase(of scalar: Unicode.Scalar, to result: inout [Unicode.Scalar]) {
    if scalar.isASCII {
      result.append(("A"..."Z").contains(scalar) ? Unicode.Scalar(UInt8(scalar.value) + 32) : scalar)
    } else {
      // The mapping of one scalar: a final sigma stays σ, and İ becomes i with a dot above.
      result.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
    }
  }
}

extension CLIPText {
  /// The classes of characters that the splitting tells apart.
  package enum Kind {
    case space, letter, number, symbol

    package init(_ scalar: Unicode.Scalar) {
      switch scalar {
      case "a"..."z", "A"..."Z": self = .letter
      case "0"..."9": self = .number
      case " ": self = .space
      case "!"..."~": self = .symbol
      default: self.init(properties: scalar.properties)
      }
    }

    private init(properties: Unicode.Scalar.Properties) {
      switch properties.generalCategory {
      case _ where properties.isWhitespace:
        self = .space
      case _ where (properties.age.map { $0.major > 16 } ?? true):
        self = .symbol
      case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
        self = .letter
      case .decimalNumber, .letterNumber, .otherNumber:
        self = .number
      default:
        self = .symbol
      }
    }
  }
}
