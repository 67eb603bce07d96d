public import Foundation
internal import OrderedCollections
internal import SafeTensors

extension CLIPTokenizer {
  /// Writes the folder that diffusers pipelines and transformers' `CLIPTokenizer` load: `vocab.json` and `merges.txt`,
  /// `tokenizer.json` with the same content, `tokenizer_config.json` and `special_tokens_map.json`.
  ///
  /// The folder is made if it is missing. Equal tokenizers write equal bytes.
  ///
  /// - Parameter overwrite: whether files of these names may be replaced.
  public func save(to folder: URL, overwrite: Bool = false) throws(TokenizerError) {
    let lines = ["#version: 0.2"] + merges.map { "\($0.left) \($0.right)" }
    let files = [
      (TokenizerFile.vocabulary, vocabularyJSON.text()),
      (TokenizerFile.merges, lines.joined(separator: "\n") + "\n"),
      (TokenizerFile.tokenizer, documentJSON.text()),
      (TokenizerFile.configuration, configurationJSON.text()),
      (TokenizerFile.specialTokens, specialTokensJSON.text()),
    ]
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    } catch {
      throw .inaccessibleFile(path: folder.path, reason: error.systemReason)
    }
    for (name, text) in files {
      let url = folder.appending(path: name)
      guard overwrite || !FileManager.default.fileExists(atPath: url.path) else {
        throw .inaccessibleFile(path: url.path, reason: "it is there already; save with overwrite: true to replace it")
      }
      do {
        try Data(text.utf8).write(to: url, options: .atomic)
      } catch {
        throw .inaccessibleFile(path: url.path, reason: error.systemReason)
      }
    }
  }

  private var vocabularyJSON: JSONText {
    .object(vocabulary.map { ($0.key, .number($0.value)) })
  }

  private var specialTokensJSON: JSONText {
    .object(configuration.roles.map { ($0.key, .string($0.token.content)) })
  }

  private var configurationJSON: JSONText {
    .object(
      [
        ("added_tokens_decoder", .object(addedTokens.map { ("\($0.id ?? 0)", .object(Self.flags(of: $0))) })),
        ("clean_up_tokenization_spaces", .bool(false)),
        ("model_max_length", .number(configuration.modelMaxLength)),
        ("tokenizer_class", .string("CLIPTokenizer")),
      ] + configuration.roles.map { ($0.key, .string($0.token.content)) })
  }

  /// `tokenizer.json`, member by member as tokenizers serializes the pipeline of transformers' `CLIPTokenizer`.
  private var documentJSON: JSONText {
    .object([
      ("version", .string("1.0")),
      ("truncation", .null),
      ("padding", .null),
      ("added_tokens", .array(addedTokens.map { .object([("id", .number($0.id ?? 0))] + Self.flags(of: $0)) })),
      ("normalizer", Self.normalizerJSON),
      ("pre_tokenizer", Self.preTokenizerJSON),
      (
        "post_processor",
        .object([
          ("type", .string("RobertaProcessing")),
          ("sep", .array([.string(configuration.eosToken.content), .number(eosTokenID)])),
          ("cls", .array([.string(configuration.bosToken.content), .number(bosTokenID)])),
          ("trim_offsets", .bool(false)),
          ("add_prefix_space", .bool(false)),
        ])
      ),
      ("decoder", Self.byteLevelJSON(addPrefixSpace: true)),
      (
        "model",
        .object([
          ("type", .string("BPE")),
          ("dropout", .null),
          ("unk_token", .string(configuration.unkToken.content)),
          ("continuing_subword_prefix", .string("")),
          ("end_of_word_suffix", .string(ByteAlphabet.endOfWord)),
          ("fuse_unk", .bool(false)),
          ("byte_fallback", .bool(false)),
          ("ignore_merges", .bool(false)),
          ("vocab", vocabularyJSON),
          ("merges", .array(merges.map { .array([.string($0.left), .string($0.right)]) })),
        ])
      ),
    ])
  }

  private static func flags(of token: AddedToken) -> [(String, JSONText)] {
    [
      ("content", .string(token.content)),
      ("single_word", .bool(false)),
      ("lstrip", .bool(false)),
      ("rstrip", .bool(false)),
      ("normalized", .bool(token.normalized)),
      ("special", .bool(token.special)),
    ]
  }

  private static let normalizerJSON = JSONText.object([
    ("type", .string("Sequence")),
    (
      "normalizers",
      .array([
        .object([("type", .string("NFC"))]),
        .object([
          ("type", .string("Replace")),
          ("pattern", .object([("Regex", .string(#"\s+"#))])),
          ("content", .string(" ")),
        ]),
        .object([("type", .string("Lowercase"))]),
      ])
    ),
  ])

  private static let preTokenizerJSON = JSONText.object([
    ("type", .string("Sequence")),
    (
      "pretokenizers",
      .array([
        .object([
          ("type", .string("Split")),
          ("pattern", .object([("Regex", .string(CLIPText.wordPattern))])),
          ("behavior", .string("Removed")),
          ("invert", .bool(true)),
        ]),
        byteLevelJSON(addPrefixSpace: false),
      ])
    ),
  ])

  private static func byteLevelJSON(addPrefixSpace: Bool) -> JSONText {
    .object([
      ("type", .string("ByteLevel")),
      ("add_prefix_space", .bool(addPrefixSpace)),
      ("trim_offsets", .bool(true)),
      ("use_regex", .bool(true)),
    ])
  }
}

/// JSON to write, with its members in the order given.
indirect enum JSONText {
  case null
  case bool(Bool)
  case number(Int)
  case string(String)
  case array([JSONText])
  case object([(String, JSONText)])

  /// Indented by two spaces, UTF-8 as it is, a newline at the end.
  func text() -> String {
    var text = ""
    write(to: &text, indentation: "")
    return text + "\n"
  }

  private func write(to text: inout String, indentation: String) {
    let inner = indentation + "  "
    func list<Element>(
      _ open: String, _ elements: [Element], _ close: String, element: (Element, inout String) -> Void
    ) {
      text += open
      for (offset, item) in elements.enumerated() {
        text += (offset == 0 ? "\n" : ",\n") + inner
        element(item, &text)
      }
      text += (elements.isEmpty ? "" : "\n" + indentation) + close
    }
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .number(let value): text += "\(value)"
    case .string(let value): text += Self.quoted(value)
    case .array(let elements):
      list("[", elements, "]") { $0.write(to: &$1, indentation: inner) }
    case .object(let members):
      list("{", members, "}") { member, text in
        text += Self.quoted(member.0) + ": "
        member.1.write(to: &text, indentation: inner)
      }
    }
  }

  private static func quoted(_ string: String) -> String {
    var result = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{00}"..."\u{1F}":
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
