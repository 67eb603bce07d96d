import Foundation
import OrderedCollections
import TestFiles
import Testing
import Tokenization

/// The files of `Tests/Goldens/tokenization`, made by Scripts/goldens/tokenization.py.
enum Golden {
  static let allGoldens = URL(filePath: goldens)
  static let folder = allGoldens.appending(path: "tokenization")
  static let trainedFolder = folder.appending(path: "trained")

  /// What the pinned libraries know of Unicode; scalars and mappings as numbers.
  struct UnicodeTables: Decodable {
    let letters, numbers, spaces: [[UInt32]]
    /// A scalar, then what becomes of it.
    let lowercase, nfc: [[UInt32]]
    /// A scalar, then its decomposition.
    let compositions: [[UInt32]]
    let reordered: [[UInt32]]
  }

  struct Trained: Decodable {
    let texts: [String]
    /// Indices of the texts whose padded ids are recorded.
    let padded: [Int]
    /// Of the first case; the others name what differs.
    let ids: [[Int]]
    let tokens: [[String]]
    let decoded, decodedPlain: [String]
    let cases: [Case]
  }

  struct Case: Decodable, CustomTestStringConvertible, Sendable {
    let name: String
    /// The file of the trained folder that holds the vocabulary: `vocab.json`, with `merges.txt`, or `tokenizer.json`.
    let layout: String
    /// Further files of the folder, by name.
    let files: [String: String]
    let modelMaxLength, padTokenID: Int
    let padded, masks: [[Int]]
    /// By the index of the text, where they are not those of the first case.
    let ids: [String: [Int]]
    let decoded, decodedPlain: [String: String]

    var testDescription: String { name }
  }

  struct CLIP: Decodable {
    /// Of the texts of `Trained`.
    let ids: [[Int]]
    let merges: [Merge]

    /// `["in", "g</w>", 550]`
    struct Merge: Decodable {
      let merge: BPEMerge
      let id: Int

      init(from decoder: any Decoder) throws {
        var container = try decoder.unkeyedContainer()
        merge = BPEMerge(try container.decode(String.self), try container.decode(String.self))
        id = try container.decode(Int.self)
      }
    }
  }

  static let unicode: UnicodeTables = load("unicode.json")
  static let trained: Trained = load("trained.json")
  static let clip: CLIP = load("clip.json")

  static let corpus = text("corpus.txt").split(separator: "\n").map { String($0) }

  static func text(_ name: String) -> String {
    String(decoding: contents(name), as: UTF8.self)
  }

  static func contents(_ name: String) -> Data {
    guard let data = FileManager.default.contents(atPath: folder.appending(path: name).path) else {
      preconditionFailure("\(name) is missing; run Scripts/goldens/tokenization.py")
    }
    return data
  }

  private static func load<Value: Decodable>(_ name: String) -> Value {
    do {
      return try JSONDecoder().decode(Value.self, from: contents(name))
    } catch {
      preconditionFailure("\(name): \(error)")
    }
  }
}

/// Runs `body` with a new folder that holds `files`.
func withFolder<Result>(_ files: [String: String], _ body: (URL) throws -> Result) throws -> Result {
  let folder = try TemporaryFolder()
  for (name, text) in files { try Data(text.utf8).write(to: URL(filePath: folder(name))) }
  return try withExtendedLifetime(folder) { try body(URL(filePath: folder.path)) }
}

/// The files of the trained folder in one of its two layouts.
func trainedFiles(layout: String) -> [String: String] {
  let names = layout == "vocab.json" ? ["vocab.json", "merges.txt"] : ["tokenizer.json"]
  return Dictionary(uniqueKeysWithValues: names.map { ($0, Golden.text("trained/\($0)")) })
}

/// `standard` with the values that a case has in place of some.
func replacing<Value>(_ standard: [Value], with differences: [String: Value]) -> [Value] {
  standard.enumerated().map { differences["\($0.offset)"] ?? $0.element }
}

/// Shows non-ASCII and control characters of a text in failures.
func escaped(_ text: String) -> String {
  text.unicodeScalars.map { $0.escaped(asASCII: true) }.joined()
}

/// Expects the same values for each text, and names those that differ.
func expectEqual<Value: Equatable>(
  _ actual: [Value], _ expected: [Value], texts: [String], sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(actual.count == expected.count, sourceLocation: sourceLocation)
  for (index, pair) in zip(actual, expected).enumerated() where pair.0 != pair.1 {
    Issue.record("\"\(escaped(texts[index]))\": \(pair.0), expected \(pair.1)", sourceLocation: sourceLocation)
  }
}
