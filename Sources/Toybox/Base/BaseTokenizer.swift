internal import Tokenization

/// The tokenizer of the base: CLIP's scheme with the words of the world.
enum BaseTokenizer {
  static func train(vocabularySize: Int) throws -> CLIPTokenizer {
    let (vocabulary, merges) = try BPETrainer.train(corpus: Vocabulary.words, vocabularySize: vocabularySize)
    var configuration = CLIPTokenizer.Configuration()
    configuration.modelMaxLength = BaseConfiguration.promptLength
    return try CLIPTokenizer(vocabulary: vocabulary, merges: merges, configuration: configuration)
  }
}
