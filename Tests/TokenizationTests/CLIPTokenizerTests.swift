import Foundation
import OrderedCollections
import TestFiles
import Testing
import Tokenization

/// Ids and texts equal those of transformers 5.23 `CLIPTokenizer`, element by element.
@Suite struct CLIPTokenizerTests {
  @Test(arguments: Golden.trained.cases)
  func equalsTransformers(_ golden: Golden.Case) throws {
    let texts = Golden.trained.texts
    let tokenizer = try withFolder(trainedFiles(layout: golden.layout).merging(golden.files) { $1 }) {
      try CLIPTokenizer(folder: $0)
    }
    #expect(tokenizer.configuration.modelMaxLength == golden.modelMaxLength)
    #expect(tokenizer.padTokenID == golden.padTokenID)
    let ids = replacing(Golden.trained.ids, with: golden.ids)
    let decoded = replacing(Golden.trained.decoded, with: golden.decoded)
    let decodedPlain = replacing(Golden.trained.decodedPlain, with: golden.decodedPlain)
    expectEqual(texts.map(tokenizer.encodeInFull), ids, texts: texts)
    expectEqual(ids.map { tokenizer.decode($0) }, decoded, texts: texts)
    expectEqual(ids.map { tokenizer.decode($0, skippingSpecialTokens: true) }, decodedPlain, texts: texts)
    if golden.name == Golden.trained.cases[0].name {
      expectEqual(texts.map(tokenizer.tokens(of:)), Golden.trained.tokens, texts: texts)
    }

    let paddedTexts = Golden.trained.padded.map { texts[$0] }
    let encodings = paddedTexts.map { tokenizer.encoding(of: $0) }
    expectEqual(encodings.map(\.inputIDs), golden.padded, texts: paddedTexts)
    expectEqual(encodings.map(\.attentionMask), golden.masks, texts: paddedTexts)
  }

  /// CLIP's 49,408 tokens, without those that no text of the golden uses: see `clip_golden` for why that changes nothing.
  @Test func equalsTransformersWithTheVocabularyOfCLIP() throws {
    let golden = Golden.clip
    var vocabulary = OrderedDictionary(uniqueKeysWithValues: zip(BPETrainer.baseVocabulary, 0...))
    for entry in golden.merges { vocabulary[entry.merge.product] = entry.id }
    vocabulary["<|startoftext|>"] = 49406
    vocabulary["<|endoftext|>"] = 49407
    let tokenizer = try CLIPTokenizer(vocabulary: vocabulary, merges: golden.merges.map(\.merge))
    let texts = Golden.trained.texts
    expectEqual(texts.map(tokenizer.encodeInFull), golden.ids, texts: texts)
    #expect(tokenizer.encode("a cat").prefix(5) == [49406, 320, 2368, 49407, 49407])
  }

  /// Folders as transformers itself saves them.
  @Test(
    "unnamed special tokens as transformers of several versions write them",
    arguments: [
      (#"{}"#, #"["<a>"]"#, ["<a>"]), (#"{"first": "<b>"}"#, #"["<a>"]"#, ["<b>"]), (#"["<b>", "<c>"]"#, "[]", ["<b>", "<c>"]),
      ("[]", #"["<a>"]"#, ["<a>"]),
    ])
  func unnamedTokens(extra: String, additional: String, expected: [String]) throws {
    let temporary = try TemporaryFolder()
    let folder = URL(filePath: temporary("tokenizer"))
    let source = Golden.allGoldens.appending(path: "tokenizer")
    try FileManager.default.copyItem(at: source, to: folder)
    let file = folder.appending(path: "tokenizer_config.json")
    var settings = try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
    for (key, text) in [("extra_special_tokens", extra), ("additional_special_tokens", additional)] {
      settings[key] = try JSONSerialization.jsonObject(with: Data(text.utf8))
    }
    try JSONSerialization.data(withJSONObject: settings).write(to: file)
    let known = try CLIPTokenizer(folder: source).addedTokens.map(\.content)
    #expect(try CLIPTokenizer(folder: folder).addedTokens.map(\.content).filter { !known.contains($0) } == expected)
  }

  @Test(arguments: ["tokenizer", "pipelines/sd15/tokenizer", "pipelines/sdxl/tokenizer", "pipelines/sdxl/tokenizer_2"])
  func equalsTransformersOnItsOwnFolders(_ path: String) throws {
    struct Case: Decodable {
      let text: String
      let ids, padded: [Int]
    }
    let folder = Golden.allGoldens
    let data = try Data(contentsOf: folder.appending(path: "tokenizer/expected.json"))
    let cases = try JSONDecoder().decode([Case].self, from: data)
    let tokenizer = try CLIPTokenizer(folder: folder.appending(path: path))
    if path.hasSuffix("tokenizer_2") {
      #expect(tokenizer.padTokenID == 0)
      #expect(tokenizer.encode("a").suffix(74) == Array(repeating: 0, count: 74)[...])
    } else {
      let texts = cases.map(\.text)
      expectEqual(texts.map(tokenizer.encodeInFull), cases.map(\.ids), texts: texts)
      expectEqual(texts.map(tokenizer.encode), cases.map(\.padded), texts: texts)
    }
  }

  @Test func truncationKeepsTheEndToken() throws {
    let tokenizer = try CLIPTokenizer(folder: Golden.trainedFolder)
    let long = String(repeating: "cat ", count: 200)
    #expect(tokenizer.encode(long).count == 77)
    #expect(tokenizer.encode(long).last == tokenizer.eosTokenID)
    #expect(tokenizer.encodeInFull(long).count == 202)
    #expect(tokenizer.encoding(of: long, maxLength: 2).inputIDs == [tokenizer.bosTokenID, tokenizer.eosTokenID])
    #expect(tokenizer.encoding(of: "", maxLength: 4).attentionMask == [1, 1, 0, 0])
  }

  /// A heap that forgot stale entries, or a quadratic loop, would differ or take minutes here.
  @Test func longWordsEqualThePlainAlgorithm() throws {
    let tokenizer = try CLIPTokenizer(folder: Golden.trainedFolder)
    var state: UInt32 = 1
    for length in [1, 2, 3, 10, 300, 2_000] {
      let word = String(
        (0..<length).map { _ -> Character in
          state = state &* 1_664_525 &+ 1_013_904_223
          return Array("aeinorst")[Int(state >> 29)]
        })
      #expect(tokenizer.tokens(of: word) == plainEncoding(of: word, merges: tokenizer.merges))
    }
  }

  /// Words come from a shared cache the second time.
  @Test func repeatedAndConcurrentCallsAgree() async throws {
    let tokenizer = try CLIPTokenizer(folder: Golden.trainedFolder)
    let texts = Golden.trained.texts
    let first = texts.map(tokenizer.encode)
    await withTaskGroup(of: [[Int]].self) { group in
      for _ in 0..<4 { group.addTask { texts.map(tokenizer.encode) } }
      for await again in group { #expect(again == first) }
    }
  }

  @Test("files are named as their folder is, so that records are the same wherever a checkout lies")
  func relativeFiles() {
    let way = FileManager.default.currentDirectoryPath.split(separator: "/").map { _ in "../" }.joined()
    let folder = "\(way)\(repository.dropFirst())/Models/toybox/clip"
    let names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
    #expect(CLIPTokenizer.files(in: folder) == names.map { "\(folder)/\($0)" })
  }

  @Test func decodingLeavesOutUnknownIDs() throws {
    let tokenizer = try CLIPTokenizer(folder: Golden.trainedFolder)
    let ids = tokenizer.tokenIDs(of: "A Cat,dog")
    #expect(tokenizer.decode(ids) == "a cat , dog")
    #expect(tokenizer.decode(ids + [1_000_000, -1]) == "a cat , dog")
    #expect(tokenizer.decode([]) == "")
  }
}

/// Byte-pair encoding of an ASCII word as it is defined: again and again the leftmost pair of the lowest rank.
private func plainEncoding(of word: String, merges: [BPEMerge]) -> [String] {
  let ranks = Dictionary(uniqueKeysWithValues: merges.enumerated().map { ($0.element, $0.offset) })
  var symbols = word.dropLast().map { String($0) } + [word.suffix(1) + "</w>"]
  while true {
    let pairs = zip(symbols, symbols.dropFirst()).enumerated().compactMap { position, pair in
      ranks[BPEMerge(pair.0, pair.1)].map { (rank: $0, position: position) }
    }
    guard let best = pairs.min(by: { ($0.rank, $0.position) < ($1.rank, $1.position) }) else { return symbols }
    symbols.replaceSubrange(best.position...best.position + 1, with: [merges[best.rank].product])
  }
}
