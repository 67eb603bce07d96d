import Foundation
import Testing
import Tokenization

/// Each mistake in a folder is named with its file, what was found and what was expected.
@Suite struct TokenizerErrorTests {
  struct Mistake: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// Files that replace those of a good folder.
    let files: [String: String]
    /// The message after the path of the folder.
    let message: String
  }

  private static let vocabulary = #"{"a": 0, "b": 1, "ab": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}"#
  private static let merges = "#version: 0.2\na b\n"
  private static func document(_ model: String) -> String { #"{"added_tokens": [], "model": \#(model)}"# }

  static let mistakes = [
    Mistake(
      testDescription: "merges line of one token", files: ["merges.txt": "#version: 0.2\na b\nab\n"],
      message: "merges.txt:3: found \"ab\"; expected two tokens separated by one space."),
    Mistake(
      testDescription: "blank merges line, no header", files: ["merges.txt": "\na b\n"],
      message: "merges.txt:1: found \"\"; expected two tokens separated by one space."),
    Mistake(
      testDescription: "product out of vocabulary", files: ["merges.txt": "#version: 0.2\na b\nb a\n"],
      message: "merges.txt:3: the merge \"b a\" needs the token \"ba\", which the vocabulary does not hold. "
        + "Take the vocabulary and the merges from the same tokenizer."),
    Mistake(
      testDescription: "part out of vocabulary", files: ["merges.txt": "a b\r\nc b\r\n"],
      message: "merges.txt:2: the merge \"c b\" needs the token \"c\", which the vocabulary does not hold. "
        + "Take the vocabulary and the merges from the same tokenizer."),
    Mistake(
      testDescription: "two tokens, one id", files: ["vocab.json": #"{"a": 0, "b": 1, "ab": 1}"#],
      message: "vocab.json: id 1 is given to \"ab\" and \"b\"; expected one token for each id."),
    Mistake(
      testDescription: "negative id", files: ["vocab.json": #"{"a": -3, "b": 1}"#],
      message: "vocab.json: \"a\" is -3; expected an id of 0 or more."),
    Mistake(
      testDescription: "no end token", files: ["vocab.json": #"{"a": 0, "b": 1, "ab": 2, "<|startoftext|>": 3}"#],
      message: "vocab.json: no token \"<|endoftext|>\", which is the eos_token; "
        + "expected it in the vocabulary, as CLIP's tokenizers have it."),
    Mistake(
      testDescription: "empty padding token", files: ["tokenizer_config.json": #"{"pad_token": ""}"#],
      message: "vocab.json: no token \"\", which is the pad_token; "
        + "expected it in the vocabulary, as CLIP's tokenizers have it."),
    Mistake(
      testDescription: "odd maximum length", files: ["tokenizer_config.json": #"{"model_max_length": 1.5}"#],
      message: "tokenizer_config.json: \"model_max_length\" is 1.5; expected an integer of 2 or more."),
    Mistake(
      testDescription: "padding on the left", files: ["tokenizer_config.json": #"{"padding_side": "left"}"#],
      message: "tokenizer_config.json: \"padding_side\" is \"left\"; expected \"right\", as CLIP's text encoders need."),
    Mistake(
      testDescription: "added token elsewhere",
      files: ["tokenizer_config.json": #"{"added_tokens_decoder": {"9": {"content": "<new>"}}}"#],
      message: "tokenizer_config.json: the added token \"<new>\" is declared with id 9, but the vocabulary puts it at 5."),
    Mistake(
      testDescription: "added token without a number",
      files: ["tokenizer_config.json": #"{"added_tokens_decoder": {"x": {"content": "<new>"}}}"#],
      message: "tokenizer_config.json: \"added_tokens_decoder\" is \"x\"; expected ids as keys."),
    Mistake(
      testDescription: "token that strips",
      files: ["special_tokens_map.json": #"{"eos_token": {"content": "a", "lstrip": true}}"#],
      message: "special_tokens_map.json: \"eos_token.lstrip\" is true, which no CLIP tokenizer uses and this one does not "
        + "support; expected another value."),
    Mistake(
      testDescription: "another model", files: ["tokenizer.json": document(#"{"type": "WordLevel", "vocab": {}, "merges": []}"#)],
      message: "tokenizer.json: \"model.type\" is \"WordLevel\"; expected \"BPE\", which CLIP uses."),
    Mistake(
      testDescription: "merge of three parts",
      files: ["tokenizer.json": document(#"{"vocab": \#(vocabulary), "merges": ["a b", ["a", "b", "c"]]}"#)],
      message: "tokenizer.json model.merges:2: found \"a b c\"; expected two tokens separated by one space."),
    Mistake(
      testDescription: "no merges", files: ["tokenizer.json": document(#"{"vocab": {}}"#)],
      message: "tokenizer.json: \"model.merges\" is missing; expected a value."),
  ]

  @Test(arguments: mistakes)
  func messages(_ mistake: Mistake) throws {
    let good = ["vocab.json": Self.vocabulary, "merges.txt": Self.merges]
    let tokenizer = try withFolder(good) { try CLIPTokenizer(folder: $0) }
    // The vocabulary lacks "a</w>": it becomes the unknown token.
    #expect(tokenizer.tokenIDs(of: "ba<|startoftext|>") == [1, 4, 3])
    try withFolder(good.merging(mistake.files) { $1 }) { folder in
      let error = #expect(throws: TokenizerError.self) { try CLIPTokenizer(folder: folder) }
      #expect(error?.description == "\(folder.path)/\(mistake.message)")
    }
  }

  @Test(arguments: [["vocab.json": "{}"], ["merges.txt": ""], [:]])
  func missingFiles(_ files: [String: String]) throws {
    try withFolder(files) { folder in
      let missing = files["vocab.json"] == nil ? "vocab.json" : "merges.txt"
      let error = #expect(throws: TokenizerError.self) { try CLIPTokenizer(folder: folder) }
      #expect(
        error?.description
          == "\(folder.path)/\(missing): no such file. A tokenizer folder holds vocab.json and merges.txt, or tokenizer.json; "
          + "is this the tokenizer folder of the model?")
    }
  }

  /// The wording of the reason is Foundation's.
  @Test(arguments: [
    (["vocab.json": "{\"a\": ", "merges.txt": ""], "vocab.json: not valid JSON: "),
    (["vocab.json": "[1]", "merges.txt": ""], "vocab.json: \"\" is of another type ("),
    (["vocab.json": "{\"a\": \"b\"}", "merges.txt": ""], "vocab.json: \"a\" is of another type ("),
    (["tokenizer.json": "{\"model\": null, \"added_tokens\": []}"], "tokenizer.json: \"model\" is null"),
  ])
  func malformedJSON(_ files: [String: String], _ beginning: String) throws {
    try withFolder(files) { folder in
      let error = #expect(throws: TokenizerError.self) { try CLIPTokenizer(folder: folder) }
      #expect(error?.description.hasPrefix("\(folder.path)/\(beginning)") == true, "\(error.map { "\($0)" } ?? "no error")")
    }
  }

  @Test func unwritableFolder() throws {
    let tokenizer = try CLIPTokenizer(folder: Golden.trainedFolder)
    try withFolder(["file": ""]) { folder in
      let error = #expect(throws: TokenizerError.self) { try tokenizer.save(to: folder.appending(path: "file/tokenizer")) }
      #expect(error?.description.hasPrefix("\(folder.path)/file/tokenizer: ") == true)
    }
  }
}
