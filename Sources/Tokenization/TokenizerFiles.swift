internal import Foundation
internal import SafeTensors

/// File names of a tokenizer folder, as transformers and diffusers write them.
enum TokenizerFile {
  static let vocabulary = "vocab.json"
  static let merges = "merges.txt"
  static let tokenizer = "tokenizer.json"
  static let configuration = "tokenizer_config.json"
  static let specialTokens = "special_tokens_map.json"
  static let addedTokens = "added_tokens.json"
}

/// Where vocabulary, merges and special tokens came from, for errors.
struct TokenizerOrigin {
  var vocabulary: String
  var merges: String
  /// Line of the merge with rank 0.
  var firstMergeLine: Int
  var configuration: String

  static let memory = Self(vocabulary: "vocabulary", merges: "merges", firstMergeLine: 1, configuration: "configuration")
}

/// `tokenizer_config.json`, and `special_tokens_map.json`, whose keys are a part of the former's.
struct TokenizerConfigurationFile: Decodable {
  var modelMaxLength: Double?
  var bosToken, eosToken, unkToken, padToken: DeclaredToken?
  var addedTokensDecoder: [String: DeclaredToken]?
  private var additionalSpecialTokens, extraSpecialTokens: DeclaredTokens?
  var paddingSide, truncationSide: String?

  enum CodingKeys: String, CodingKey {
    case modelMaxLength = "model_max_length"
    case bosToken = "bos_token"
    case eosToken = "eos_token"
    case unkToken = "unk_token"
    case padToken = "pad_token"
    case addedTokensDecoder = "added_tokens_decoder"
    case additionalSpecialTokens = "additional_special_tokens"
    case extraSpecialTokens = "extra_special_tokens"
    case paddingSide = "padding_side"
    case truncationSide = "truncation_side"
  }

  /// Special tokens without a role. As in transformers, the newer name goes before the older one unless it has none.
  var unnamedTokens: [DeclaredToken] {
    [extraSpecialTokens, additionalSpecialTokens].compactMap { $0?.tokens }.first { !$0.isEmpty } ?? []
  }
}

/// A list; or, as transformers 4.47 to 4.57 writes it, and mostly empty, a mapping from names.
private struct DeclaredTokens: Decodable {
  let tokens: [DeclaredToken]

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let named = try? container.decode([String: DeclaredToken].self) {
      tokens = named.sorted { $0.key < $1.key }.map(\.value)
    } else {
      tokens = try container.decode([DeclaredToken].self)
    }
  }
}

/// The parts of `tokenizer.json` that `CLIPTokenizer` reads; the rest it builds itself, whatever the file says.
struct TokenizerDocument: Decodable {
  struct Model: Decodable {
    let type: String?
    let vocab: [String: Int]
    let merges: [Merge]
  }

  /// `"a b"`, or `["a", "b"]` in newer files.
  struct Merge: Decodable {
    let parts: [String]

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let line = try? container.decode(String.self) {
        parts = BPEMerge.parts(of: line)
      } else {
        parts = try container.decode([String].self)
      }
    }
  }

  let model: Model
  let addedTokens: [DeclaredToken]

  enum CodingKeys: String, CodingKey {
    case model
    case addedTokens = "added_tokens"
  }
}

/// A special token as the files write it: its content alone, or an object with the flags of `AddedToken`.
struct DeclaredToken: Decodable {
  var token: AddedToken

  enum CodingKeys: String, CodingKey {
    case content, special, normalized, id, lstrip, rstrip
    case singleWord = "single_word"
  }

  init(from decoder: any Decoder) throws {
    if let content = try? decoder.singleValueContainer().decode(String.self) {
      token = AddedToken(content)
      return
    }
    let container = try decoder.container(keyedBy: CodingKeys.self)
    for key in [CodingKeys.lstrip, .rstrip, .singleWord] where try container.decodeIfPresent(Bool.self, forKey: key) == true {
      throw DecodingError.dataCorruptedError(
        forKey: key, in: container, debugDescription: "true, which no CLIP tokenizer uses and this one does not support")
    }
    token = AddedToken(
      try container.decode(String.self, forKey: .content),
      special: try container.decodeIfPresent(Bool.self, forKey: .special) ?? true,
      normalized: try container.decodeIfPresent(Bool.self, forKey: .normalized),
      id: try container.decodeIfPresent(Int.self, forKey: .id))
  }
}

extension BPEMerge {
  /// Splits at single spaces, as tokenizers does: two parts in a well-formed line.
  static func parts(of line: String) -> [String] {
    line.unicodeScalars.split(separator: " ", omittingEmptySubsequences: false).map { String($0) }
  }
}

/// Reads files of one folder and turns what goes wrong into ``TokenizerError``.
struct TokenizerFolder {
  let url: URL

  func path(_ name: String) -> String { url.appending(path: name).path }

  func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }

  func data(_ name: String) throws(TokenizerError) -> Data {
    do {
      return try Data(contentsOf: url.appending(path: name))
    } catch {
      throw .inaccessibleFile(path: path(name), reason: error.systemReason)
    }
  }

  func json<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws(TokenizerError) -> Value {
    let data = try data(name)
    do {
      return try JSONDecoder().decode(type, from: data)
    } catch let error as DecodingError {
      throw Self.error(error, path: path(name))
    } catch {
      throw .malformedJSON(path: path(name), reason: "\(error)")
    }
  }

  /// nil where the folder has no such file.
  func jsonIfPresent<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws(TokenizerError) -> Value? {
    has(name) ? try json(name, as: type) : nil
  }

  private static func error(_ error: DecodingError, path: String) -> TokenizerError {
    func key(_ codingPath: [any CodingKey]) -> String {
      codingPath.map(\.stringValue).joined(separator: ".")
    }
    switch error {
    case .typeMismatch(let type, let context):
      return .unexpectedValue(
        path: path, key: key(context.codingPath), found: "of another type (\(context.debugDescription))",
        expected: "a value of type \(type)")
    case .valueNotFound(let type, let context):
      return .unexpectedValue(
        path: path, key: key(context.codingPath), found: "null", expected: "a value of type \(type)")
    case .keyNotFound(let missing, let context):
      return .unexpectedValue(
        path: path, key: key(context.codingPath + [missing]), found: "missing", expected: "a value")
    case .dataCorrupted(let context) where !context.codingPath.isEmpty:
      return .unexpectedValue(
        path: path, key: key(context.codingPath), found: context.debugDescription, expected: "another value")
    case .dataCorrupted(let context):
      let underlying = context.underlyingError.map { ": \($0)" } ?? ""
      return .malformedJSON(path: path, reason: context.debugDescription + underlying)
    @unknown default:
      return .malformedJSON(path: path, reason: "\(error)")
    }
  }
}
