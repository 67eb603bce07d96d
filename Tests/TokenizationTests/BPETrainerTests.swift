import Foundation
import OrderedCollections
import Testing
import Tokenization

@Suite struct BPETrainerTests {
  /// The golden counts all pairs anew before each merge; the trainer keeps its counts up to date.
  @Test func equalsThePlainAlgorithm() throws {
    let golden = try CLIPTokenizer(folder: Golden.trainedFolder)
    let trained = try BPETrainer.train(corpus: Golden.corpus, vocabularySize: 800)
    #expect(trained.merges == golden.merges)
    #expect(trained.vocabulary == golden.vocabulary)
    #expect(trained.merges.count == 800 - 514)
  }

  /// The corpus has merges for 854 tokens, after which each word is one token.
  @Test func stopsWhenNothingIsLeftToMerge() throws {
    let (vocabulary, merges) = try BPETrainer.train(corpus: Golden.corpus, vocabularySize: 5_000)
    #expect(vocabulary.count == 854)
    let tokenizer = try CLIPTokenizer(vocabulary: vocabulary, merges: merges)
    #expect(tokenizer.tokens(of: "a watercolor painting") == ["a</w>", "watercolor</w>", "painting</w>"])
  }

  @Test func orderOfTheCorpusDoesNotMatter() throws {
    let trained = try BPETrainer.train(corpus: Golden.corpus, vocabularySize: 700)
    let again = try BPETrainer.train(corpus: Golden.corpus.reversed(), vocabularySize: 700)
    #expect(trained.merges == again.merges)
  }

  /// "aaab": a+a twice and overlapping, merged from the left; then ties by id.
  @Test func overlappingPairs() throws {
    let trained = try BPETrainer.train(corpus: ["aaab aaab"], vocabularySize: 600)
    #expect(trained.merges == [BPEMerge("a", "a"), BPEMerge("a", "b</w>"), BPEMerge("aa", "ab</w>")])
    #expect(trained.vocabulary["aaab</w>"] == 514)
    #expect(trained.vocabulary.count == 517)
  }

  @Test func baseVocabularyIsThatOfCLIP() throws {
    let trained = try BPETrainer.train(corpus: [], vocabularySize: 514)
    #expect(trained.merges.isEmpty)
    #expect(trained.vocabulary["!"] == 0)
    #expect(trained.vocabulary["a"] == 64)
    #expect(trained.vocabulary["Ġ"] == 220)
    #expect(trained.vocabulary["!</w>"] == 256)
    #expect(trained.vocabulary["<|startoftext|>"] == 512)
    #expect(trained.vocabulary["<|endoftext|>"] == 513)
    #expect(throws: TokenizerError.vocabularyTooSmall(found: 513, expected: 514)) {
      try BPETrainer.train(corpus: [], vocabularySize: 513)
    }
  }

  /// Any text survives encoding and decoding, though the corpus held none of its characters.
  @Test func everyTextCanBeEncoded() throws {
    let (vocabulary, merges) = try BPETrainer.train(corpus: ["a cat"], vocabularySize: 520)
    let tokenizer = try CLIPTokenizer(vocabulary: vocabulary, merges: merges)
    #expect(tokenizer.decode(tokenizer.tokenIDs(of: "猫 🐱 größe")) == "猫 🐱 größe")
    #expect(tokenizer.tokens(of: "a cat") == ["a</w>", "cat</w>"])
  }

  @Test func savedFilesAreThoseOfTransformers() throws {
    let (vocabulary, merges) = try BPETrainer.train(corpus: Golden.corpus, vocabularySize: 800)
    let tokenizer = try CLIPTokenizer(vocabulary: vocabulary, merges: merges)
    try withFolder([:]) { folder in
      try tokenizer.save(to: folder)
      #expect(try Data(contentsOf: folder.appending(path: "merges.txt")) == Golden.contents("trained/merges.txt"))
      for name in ["vocab.json", "tokenizer.json"] {
        let saved = try json(Data(contentsOf: folder.appending(path: name)))
        #expect(saved == (try json(Golden.contents("trained/\(name)"))), "\(name)")
      }
    }
  }

  @Test func savedFoldersLoadAgain() throws {
    let (vocabulary, merges) = try BPETrainer.train(corpus: Golden.corpus, vocabularySize: 600)
    var configuration = CLIPTokenizer.Configuration()
    configuration.modelMaxLength = 32
    configuration.padToken = AddedToken("!")
    configuration.addedTokens = [
      AddedToken("<|endoftext|>", normalized: true), AddedToken("<s\"\\1>", special: false, normalized: false),
    ]
    let tokenizer = try CLIPTokenizer(vocabulary: vocabulary, merges: merges, configuration: configuration)
    let texts = Golden.trained.texts + ["a <s\"\\1> cat<S\"\\1>", "<|EndOfText|>!"]
    #expect(tokenizer.count == 601)
    for unwanted in [["tokenizer.json"], ["vocab.json", "merges.txt"]] {
      let loaded = try withFolder([:]) { folder in
        try tokenizer.save(to: folder)
        for name in unwanted { try FileManager.default.removeItem(at: folder.appending(path: name)) }
        return try CLIPTokenizer(folder: folder)
      }
      expectEqual(texts.map(loaded.encode), texts.map(tokenizer.encode), texts: texts)
      #expect(loaded.addedTokens == tokenizer.addedTokens)
    }
  }

  private func json(_ data: Data) throws -> NSDictionary {
    try #require(try JSONSerialization.jsonObject(with: data) as? NSDictionary)
  }
}
