public import Foundation
internal import OrderedCollections

extension CLIPTokenizer {
  /// Loads a `tokenizer/` folder of diffusers or transformers.
  ///
  /// Vocabulary and merges come from `tokenizer.json` if the folder has one, else from `vocab.json` and `merges.txt`. Special
  /// tokens come from `tokenizer_config.json`; where that has no `added_tokens_decoder`, `special_tokens_map.json`,
  /// `added_tokens.json` and the added tokens of `tokenizer.json` complete it. All four are optional. A `model_max_length` that
  /// is missing, or as large as transformers writes for "no limit", is 77. Source: transformers tokenization_utils_base.py
  /// `_from_pretrained`.
  public init(folder url: URL) throws(TokenizerError) {
    let folder = TokenizerFolder(url: url)
    let parts =
      folder.has(TokenizerFile.tokenizer)
      ? try ModelParts(document: folder) : try ModelParts(vocabularyAndMerges: folder)
    var configuration = try Configuration(folder, documentTokens: parts.addedTokens)
    configuration.markNamedTokensSpecial()
    try self.init(
      vocabulary: parts.vocabulary, merges: parts.merges, configuration: configuration, origin: parts.origin)
  }
}

extension CLIPTokenizer {
  /// Paths of what `init(folder:)` can read, as far as it is there; relative where that of the folder is.
  package static func files(in path: String) -> [String] {
    let folder = TokenizerFolder(url: URL(filePath: path))
    let isOneFile = folder.has(TokenizerFile.tokenizer)
    let model = isOneFile ? [TokenizerFile.tokenizer] : [TokenizerFile.vocabulary, TokenizerFile.merges]
    return (model + [TokenizerFile.configuration, TokenizerFile.specialTokens, TokenizerFile.addedTokens])
      .filter(folder.has).map { "\(path)/\($0)" }
  }
}

/// Vocabulary and merges as read from either layout.
private struct ModelParts {
  let vocabulary: OrderedDictionary<String, Int>
  let merges: [BPEMerge]
  var addedTokens: [AddedToken] = []
  let origin: TokenizerOrigin

  init(document folder: TokenizerFolder) throws(TokenizerError) {
    let path = folder.path(TokenizerFile.tokenizer)
    let document = try folder.json(TokenizerFile.tokenizer, as: TokenizerDocument.self)
    if let type = document.model.type, type != "BPE" {
      throw .unexpectedValue(path: path, key: "model.type", found: "\"\(type)\"", expected: "\"BPE\", which CLIP uses")
    }
    vocabulary = try Self.ordered(document.model.vocab, path: path)
    merges = try Self.merges(document.model.merges.map(\.parts), path: "\(path) model.merges", firstLine: 1)
    addedTokens = document.addedTokens.map(\.token)
    origin = TokenizerOrigin(
      vocabulary: path, merges: "\(path) model.merges", firstMergeLine: 1,
      configuration: folder.path(TokenizerFile.configuration))
  }

  init(vocabularyAndMerges folder: TokenizerFolder) throws(TokenizerError) {
    for name in [TokenizerFile.vocabulary, TokenizerFile.merges] where !folder.has(name) {
      throw .missingFile(
        path: folder.path(name),
        hint: "A tokenizer folder holds vocab.json and merges.txt, or tokenizer.json; is this the tokenizer folder of the model?")
    }
    let path = folder.path(TokenizerFile.merges)
    vocabulary = try Self.ordered(
      try folder.json(TokenizerFile.vocabulary), path: folder.path(TokenizerFile.vocabulary))
    var lines = try folder.data(TokenizerFile.merges).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { String(decoding: $0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0, as: UTF8.self) }
    if lines.last == "" { lines.removeLast() }
    let header = lines.first?.hasPrefix("#version") == true ? 1 : 0
    merges = try Self.merges(lines.dropFirst(header).map(BPEMerge.parts(of:)), path: path, firstLine: 1 + header)
    origin = TokenizerOrigin(
      vocabulary: folder.path(TokenizerFile.vocabulary), merges: path, firstMergeLine: 1 + header,
      configuration: folder.path(TokenizerFile.configuration))
  }

  private static func ordered(
    _ vocabulary: [String: Int], path: String
  ) throws(TokenizerError) -> OrderedDictionary<String, Int> {
    let sorted = vocabulary.sorted { ($0.value, $0.key) < ($1.value, $1.key) }
    if let first = sorted.first, first.value < 0 {
      throw .unexpectedValue(path: path, key: first.key, found: "\(first.value)", expected: "an id of 0 or more")
    }
    return OrderedDictionary(uniqueKeysWithValues: sorted.map { ($0.key, $0.value) })
  }

  private static func merges(_ lines: [[String]], path: String, firstLine: Int) throws(TokenizerError) -> [BPEMerge] {
    var merges: [BPEMerge] = []
    merges.reserveCapacity(lines.count)
    for (offset, parts) in lines.enumerated() {
      guard parts.count == 2, !parts.contains("") else {
        throw .malformedMerge(path: path, line: firstLine + offset, found: parts.joined(separator: " "))
      }
      merges.append(BPEMerge(parts[0], parts[1]))
    }
    return merges
  }
}

extension CLIPTokenizer.Configuration {
  fileprivate init(_ folder: TokenizerFolder, documentTokens: [AddedToken]) throws(TokenizerError) {
    self.init()
    let path = folder.path(TokenizerFile.configuration)
    let file: TokenizerConfigurationFile? = try folder.jsonIfPresent(TokenizerFile.configuration)
    if let file {
      try takeSizes(from: file, path: path)
      takeNamedTokens(from: file)
    }
    var declared: [AddedToken] = []
    var extra = file?.unnamedTokens ?? []
    if let decoder = file?.addedTokensDecoder {
      for (id, entry) in decoder.sorted(by: { $0.key < $1.key }) {
        guard let number = Int(id) else {
          throw .unexpectedValue(path: path, key: "added_tokens_decoder", found: "\"\(id)\"", expected: "ids as keys")
        }
        var token = entry.token
        token.id = number
        declared.append(token)
      }
    } else {
      let specialTokens: TokenizerConfigurationFile? = try folder.jsonIfPresent(TokenizerFile.specialTokens)
      if let specialTokens {
        takeNamedTokens(from: specialTokens)
        extra += specialTokens.unnamedTokens
      }
      let legacy: [String: Int] = try folder.jsonIfPresent(TokenizerFile.addedTokens) ?? [:]
      let special = Set(roles.map(\.token.content) + extra.map(\.token.content))
      declared = legacy.map { AddedToken($0.key, special: special.contains($0.key), id: $0.value) }
      let documentIDs = Set(documentTokens.map(\.id))
      declared = declared.filter { !documentIDs.contains($0.id) } + documentTokens
    }
    // In the order in which transformers adds them, which sets the ids of those that are new.
    declared.sort { ($0.id ?? 0, $0.content) < ($1.id ?? 0, $1.content) }
    let contents = Set(declared.map(\.content))
    addedTokens = declared + (roles.map(\.token) + extra.map(\.token)).filter { !contents.contains($0.content) }
  }

  private mutating func takeSizes(from file: TokenizerConfigurationFile, path: String) throws(TokenizerError) {
    if let length = file.modelMaxLength, length <= 1e9 {
      guard length >= 2, let length = Int(exactly: length) else {
        throw .unexpectedValue(path: path, key: "model_max_length", found: "\(length)", expected: "an integer of 2 or more")
      }
      modelMaxLength = length
    }
    for (key, side) in [("padding_side", file.paddingSide), ("truncation_side", file.truncationSide)] {
      guard let side, side != "right" else { continue }
      throw .unexpectedValue(path: path, key: key, found: "\"\(side)\"", expected: "\"right\", as CLIP's text encoders need")
    }
  }

  private mutating func takeNamedTokens(from file: TokenizerConfigurationFile) {
    func named(_ declared: DeclaredToken?, else current: AddedToken) -> AddedToken {
      guard var token = declared?.token else { return current }
      token.special = true
      return token
    }
    bosToken = named(file.bosToken, else: bosToken)
    eosToken = named(file.eosToken, else: eosToken)
    unkToken = named(file.unkToken, else: unkToken)
    padToken = named(file.padToken, else: padToken)
  }

  /// A token that serves as start, end, padding or unknown is special even where its declaration says otherwise.
  fileprivate mutating func markNamedTokensSpecial() {
    let named = Set(roles.map(\.token.content))
    for index in addedTokens.indices where named.contains(addedTokens[index].content) {
      addedTokens[index].special = true
    }
  }
}
