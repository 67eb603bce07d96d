public import OrderedCollections

/// The tokenizer of CLIP's text encoders: the same ids as transformers 5.23 `CLIPTokenizer`, for any text.
///
/// ```swift
/// let tokenizer = try CLIPTokenizer(folder: model.appending(path: "tokenizer"))
/// tokenizer.encode("a sbu cat in szn style")  // 77 ids: start, 8 tokens, end, padding
/// ```
///
/// A text is cut at special tokens, normalized and split into words (`CLIPText`), and each word is encoded by itself
/// (`BytePairEncoding`). Source: transformers models/clip/tokenization_clip.py.
public struct CLIPTokenizer: Sendable {
  /// The special tokens and sizes that `tokenizer_config.json` sets.
  public struct Configuration: Hashable, Sendable {
    /// How many ids `encode` returns; 77 in every published CLIP.
    public var modelMaxLength = 77
    public var bosToken = AddedToken("<|startoftext|>")
    public var eosToken = AddedToken("<|endoftext|>")
    /// Stands for bytes that the vocabulary lacks.
    public var unkToken = AddedToken("<|endoftext|>")
    /// Fills up to `modelMaxLength`: `<|endoftext|>` in SD 1.x and SDXL's `tokenizer`, `!` in SDXL's `tokenizer_2`.
    public var padToken = AddedToken("<|endoftext|>")
    /// Further tokens to find in the text, such as those of textual inversion. Their flags take precedence over those above.
    public var addedTokens: [AddedToken] = []

    public init() {}
  }

  /// The ids of one text together with the attention mask.
  public struct Encoding: Hashable, Sendable {
    public let inputIDs: [Int]
    /// 1 for tokens, 0 for padding.
    public let attentionMask: [Int]
  }

  public let configuration: Configuration
  /// Token to id, in the order of the ids; added tokens are apart, in ``addedTokens``.
  public let vocabulary: OrderedDictionary<String, Int>
  /// By rank.
  public let merges: [BPEMerge]
  public let bosTokenID: Int
  public let eosTokenID: Int
  public let padTokenID: Int

  private let model: BytePairEncoding
  private let added: AddedVocabulary
  private let tokenOfID: [Int: String]
  private let specialTokens: Set<String>

  /// - Throws: ``TokenizerError`` where the parts do not fit together.
  public init(
    vocabulary: OrderedDictionary<String, Int>, merges: [BPEMerge], configuration: Configuration = Configuration()
  ) throws(TokenizerError) {
    try self.init(vocabulary: vocabulary, merges: merges, configuration: configuration, origin: .memory)
  }

  init(
    vocabulary: OrderedDictionary<String, Int>, merges: [BPEMerge], configuration: Configuration, origin: TokenizerOrigin
  ) throws(TokenizerError) {
    let sorted = vocabulary.sorted { ($0.value, $0.key) < ($1.value, $1.key) }
    for (a, b) in zip(sorted, sorted.dropFirst()) where a.value == b.value {
      throw .duplicateID(path: origin.vocabulary, id: a.value, tokens: [a.key, b.key])
    }
    self.vocabulary = OrderedDictionary(uniqueKeysWithValues: sorted.map { ($0.key, $0.value) })
    self.merges = merges
    self.configuration = configuration
    let declared = Set(configuration.addedTokens.map(\.content))
    let named = configuration.roles.map(\.token).filter { !declared.contains($0.content) }
    added = try AddedVocabulary(
      declared: configuration.addedTokens + named, vocabulary: vocabulary, path: origin.configuration)

    let addedIDs = Dictionary(uniqueKeysWithValues: added.entries.map { ($0.token.content, $0.id) })
    func id(_ token: AddedToken, role: String) throws(TokenizerError) -> Int {
      // The padding may be new to the vocabulary; the other three are what the text encoder was trained with.
      let isDeclared = configuration.addedTokens.contains { $0.content == token.content && $0.id != nil }
      guard let id = addedIDs[token.content], role == "pad_token" || isDeclared || vocabulary[token.content] != nil else {
        throw .missingSpecialToken(path: origin.vocabulary, role: role, token: token.content)
      }
      return id
    }
    bosTokenID = try id(configuration.bosToken, role: "bos_token")
    eosTokenID = try id(configuration.eosToken, role: "eos_token")
    padTokenID = try id(configuration.padToken, role: "pad_token")
    let unknownID = try id(configuration.unkToken, role: "unk_token")
    model = try BytePairEncoding(
      vocabulary: vocabulary, merges: merges, unknownID: unknownID, origin: origin)

    let addedTexts = added.entries.map { ($0.id, $0.text) }
    tokenOfID = Dictionary(sorted.map { ($0.value, $0.key) } + addedTexts, uniquingKeysWith: { $1 })
    specialTokens = Set(added.entries.filter(\.token.special).map(\.token.content))
  }

  /// All tokens that are looked for in the text before it is cut into words, with their ids and by these.
  public var addedTokens: [AddedToken] {
    added.entries.sorted { $0.id < $1.id }.map { entry in
      var token = entry.token
      token.id = entry.id
      return token
    }
  }

  /// Number of ids: the vocabulary and the added tokens that it lacks.
  public var count: Int { tokenOfID.count }

  /// The largest id, which is more than there are where ids are left out.
  public var largestID: Int { tokenOfID.keys.max() ?? -1 }
}

extension CLIPTokenizer.Configuration {
  /// The named special tokens under their keys in `tokenizer_config.json`, in the order in which transformers adds them.
  var roles: [(key: String, token: AddedToken)] {
    [("bos_token", bosToken), ("eos_token", eosToken), ("unk_token", unkToken), ("pad_token", padToken)]
  }
}

// MARK: - Encoding

extension CLIPTokenizer {
  /// Start token, tokens, end token and padding: exactly `modelMaxLength` ids.
  ///
  /// Longer texts lose their last tokens, never the end token; what diffusers calls
  /// `tokenizer(text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)`.
  public func encode(_ text: String) -> [Int] {
    encoding(of: text).inputIDs
  }

  /// A text in parts that are each like one of ``encode(_:)``, so that so many times as many tokens are read. Parts that no token is
  /// left for are empty texts; tokens that no part is left for are lost (A1111: modules/sd_hijack_clip.py, without its search for
  /// commas).
  public func encode(_ text: String, parts: Int) -> [[Int]] {
    let size = configuration.modelMaxLength - 2
    let tokens = tokenIDs(of: text)
    return (0..<parts).map { part in
      encoding(of: tokens.dropFirst(part * size), maxLength: configuration.modelMaxLength).inputIDs
    }
  }

  /// The same ids as ``encode(_:)`` and the attention mask.
  public func encoding(of text: String) -> Encoding {
    encoding(of: text, maxLength: configuration.modelMaxLength)
  }

  /// Padded and truncated to `maxLength` ids, at least 2.
  public func encoding(of text: String, maxLength: Int) -> Encoding {
    encoding(of: tokenIDs(of: text)[...], maxLength: maxLength)
  }

  private func encoding(of tokens: ArraySlice<Int>, maxLength: Int) -> Encoding {
    precondition(maxLength >= 2, "a length of \(maxLength) has no room for the start and the end token")
    let ids = [bosTokenID] + tokens.prefix(maxLength - 2) + [eosTokenID]
    let padding = maxLength - ids.count
    return Encoding(
      inputIDs: ids + Array(repeating: padTokenID, count: padding),
      attentionMask: Array(repeating: 1, count: ids.count) + Array(repeating: 0, count: padding))
  }

  /// Start token, all tokens however many, end token.
  public func encodeInFull(_ text: String) -> [Int] {
    [bosTokenID] + tokenIDs(of: text) + [eosTokenID]
  }

  /// The tokens alone, without start and end: what a learned word occupies, for instance.
  public func tokenIDs(of text: String) -> [Int] {
    added.pieces(of: text).flatMap { piece in
      switch piece {
      case .token(let id): [id]
      case .text(let scalars): CLIPText.words(in: scalars).flatMap(model.ids(of:))
      }
    }
  }

  /// The tokens of ``tokenIDs(of:)`` as the vocabulary spells them, such as `cat</w>`.
  public func tokens(of text: String) -> [String] {
    tokenIDs(of: text).compactMap { tokenOfID[$0] }
  }
}

// MARK: - Decoding

extension CLIPTokenizer {
  /// The normalized text with one space after each word; ids that no token has are left out.
  ///
  /// - Parameter skippingSpecialTokens: leaves out start, end and padding.
  public func decode(_ ids: [Int], skippingSpecialTokens: Bool = false) -> String {
    let tokens = ids.compactMap { tokenOfID[$0] }.filter { !(skippingSpecialTokens && specialTokens.contains($0)) }
    let bytes = tokens.flatMap { token in
      let bytes = token.unicodeScalars.map { ByteAlphabet.bytes[$0] }
      // An added token outside the byte alphabet is plain text.
      return bytes.contains(nil) ? Array(token.utf8) : bytes.compactMap(\.self)
    }
    return String(decoding: bytes, as: UTF8.self).replacingEndsOfWords()
  }
}

extension String {
  /// Turns each `</w>` into a space, then strips white space as Python's `str.strip` does.
  fileprivate func replacingEndsOfWords() -> String {
    let suffix = Array(ByteAlphabet.endOfWord.unicodeScalars)
    var rest = Array(unicodeScalars)[...]
    var result: [Unicode.Scalar] = []
    while let first = rest.first {
      let isSuffix = rest.starts(with: suffix)
      result.append(isSuffix ? " " : first)
      rest = rest.dropFirst(isSuffix ? suffix.count : 1)
    }
    // Python also counts the four ASCII separators as white space.
    func isSpace(_ scalar: Unicode.Scalar) -> Bool {
      scalar.properties.isWhitespace || ("\u{1C}"..."\u{1F}").contains(scalar)
    }
    let stripped = result.drop(while: isSpace).reversed().drop(while: isSpace).reversed()
    return String(String.UnicodeScalarView(stripped))
  }
}
