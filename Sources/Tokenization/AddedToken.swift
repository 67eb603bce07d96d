internal import OrderedCollections

/// A token that is found in the text as a whole, before words are cut (tokenizers: `AddedToken`).
public struct AddedToken: Hashable, Sendable {
  public var content: String
  /// True: looked for in the normalized (lower-cased) text; false: in the text as it was given.
  public var normalized: Bool
  /// Special tokens are those that `decode(_:skippingSpecialTokens:)` can leave out.
  public var special: Bool
  /// The id its file declares; nil takes it from the vocabulary, or the next free one.
  public var id: Int?

  /// - Parameter normalized: by default the opposite of `special`.
  public init(_ content: String, special: Bool = true, normalized: Bool? = nil, id: Int? = nil) {
    self.content = content
    self.special = special
    self.normalized = normalized ?? !special
    self.id = id
  }
}

/// The added tokens of one tokenizer, and the search for them (tokenizers: tokenizer/added_vocabulary.rs).
///
/// Where two tokens differ in case alone and both are normalized, tokenizers finds now the one, now the other; here it is the
/// one that is declared first.
struct AddedVocabulary: Sendable {
  struct Entry {
    let token: AddedToken
    let id: Int
    /// What the id decodes to.
    let text: String
  }

  /// A stretch of text, or the id of an added token that stood in it.
  enum Piece {
    case text(CLIPText.Scalars)
    case token(Int)
  }

  /// Every token once, in order of declaration.
  let entries: [Entry]
  private let rawPatterns: Patterns
  private let normalizedPatterns: Patterns

  /// - Parameters:
  ///   - declared: the last of several with the same content decides on its flags.
  ///   - path: the file that declares them, for errors.
  init(
    declared: [AddedToken], vocabulary: OrderedDictionary<String, Int>, path: String
  ) throws(TokenizerError) {
    var entries: OrderedDictionary<String, Entry> = [:]
    for token in declared where !token.content.isEmpty {
      let earlier = entries[token.content]
      let nextFree = max(vocabulary.count, (entries.values.map(\.id).max() ?? -1) &+ 1)
      let id = earlier?.id ?? vocabulary[token.content] ?? nextFree
      if let declaredID = token.id, declaredID != id {
        throw .misplacedToken(path: path, token: token.content, found: declaredID, expected: id)
      }
      // Once looked for in its normalized form, a token is also decoded to it.
      let normalized = String(String.UnicodeScalarView(CLIPText.normalized(token.content.unicodeScalars)))
      let text = token.normalized ? normalized : earlier?.text ?? token.content
      entries[token.content] = Entry(token: token, id: id, text: text)
    }
    self.entries = Array(entries.values)
    rawPatterns = Patterns(
      self.entries.filter { !$0.token.normalized }.map { (Array($0.token.content.unicodeScalars), $0.id) })
    normalizedPatterns = Patterns(
      self.entries.filter(\.token.normalized).map { (CLIPText.normalized($0.token.content.unicodeScalars), $0.id) })
  }

  /// Normalizes `text` and cuts it at the added tokens.
  func pieces(of text: String) -> [Piece] {
    rawPatterns.split(Array(text.unicodeScalars)[...]).flatMap { piece in
      guard case .text(let scalars) = piece else { return [piece] }
      return normalizedPatterns.split(CLIPText.normalized(scalars)[...])
    }
  }

  private struct Patterns {
    let patterns: [(scalars: [Unicode.Scalar], id: Int)]
    let firstScalars: Set<Unicode.Scalar>

    init(_ patterns: [([Unicode.Scalar], Int)]) {
      self.patterns = patterns
      firstScalars = Set(patterns.compactMap(\.0.first))
    }

    /// Cuts at the leftmost match, the longest of several there, the first of several as long.
    func split(_ text: CLIPText.Scalars) -> [Piece] {
      var pieces: [Piece] = []
      var start = text.startIndex
      var position = start
      while position < text.endIndex {
        guard let match = longestMatch(at: text[position...]) else {
          position += 1
          continue
        }
        if start < position { pieces.append(.text(text[start..<position])) }
        pieces.append(.token(match.id))
        position += match.scalars.count
        start = position
      }
      if start < text.endIndex { pieces.append(.text(text[start...])) }
      return pieces
    }

    private func longestMatch(at text: CLIPText.Scalars) -> (scalars: [Unicode.Scalar], id: Int)? {
      guard let first = text.first, firstScalars.contains(first) else { return nil }
      let matches = patterns.filter { text.starts(with: $0.scalars) }
      return matches.first { match in matches.allSatisfy { $0.scalars.count <= match.scalars.count } }
    }
  }
}
