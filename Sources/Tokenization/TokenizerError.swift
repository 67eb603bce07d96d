/// What can be wrong with the files of a tokenizer. Every message names the file, what was found and what was expected.
public enum TokenizerError: Error, Equatable, Sendable {
  /// A file that the folder must hold is not there.
  case missingFile(path: String, hint: String)
  /// The file system refused to read or write.
  case inaccessibleFile(path: String, reason: String)
  /// The file is not JSON.
  case malformedJSON(path: String, reason: String)
  /// A JSON value has another type or value than its key demands.
  case unexpectedValue(path: String, key: String, found: String, expected: String)
  /// A line of `merges.txt` (counted from 1), or an entry of `model.merges`, is not two tokens.
  case malformedMerge(path: String, line: Int, found: String)
  /// A merge names or makes a token that the vocabulary does not hold.
  case mergeOutOfVocabulary(path: String, line: Int, merge: String, token: String)
  /// Two tokens share one id.
  case duplicateID(path: String, id: Int, tokens: [String])
  /// A special token (`role` is its key in `tokenizer_config.json`) is not in the vocabulary.
  case missingSpecialToken(path: String, role: String, token: String)
  /// A token would get another id than its file declares.
  case misplacedToken(path: String, token: String, found: Int, expected: Int)
  /// `BPETrainer` was asked for fewer tokens than the base vocabulary holds.
  case vocabularyTooSmall(found: Int, expected: Int)
}

extension TokenizerError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .missingFile(let path, let hint):
      "\(path): no such file. \(hint)"
    case .inaccessibleFile(let path, let reason):
      "\(path): \(reason)"
    case .malformedJSON(let path, let reason):
      "\(path): not valid JSON: \(reason)"
    case .unexpectedValue(let path, let key, let found, let expected):
      "\(path): \"\(key)\" is \(found); expected \(expected)."
    case .malformedMerge(let path, let line, let found):
      "\(path):\(line): found \"\(found)\"; expected two tokens separated by one space."
    case .mergeOutOfVocabulary(let path, let line, let merge, let token):
      "\(path):\(line): the merge \"\(merge)\" needs the token \"\(token)\", which the vocabulary does not hold. "
        + "Take the vocabulary and the merges from the same tokenizer."
    case .duplicateID(let path, let id, let tokens):
      "\(path): id \(id) is given to \(tokens.map { "\"\($0)\"" }.joined(separator: " and ")); expected one token for each id."
    case .missingSpecialToken(let path, let role, let token):
      "\(path): no token \"\(token)\", which is the \(role); expected it in the vocabulary, as CLIP's tokenizers have it."
    case .misplacedToken(let path, let token, let found, let expected):
      "\(path): the added token \"\(token)\" is declared with id \(found), but the vocabulary puts it at \(expected)."
    case .vocabularyTooSmall(let found, let expected):
      "vocabularySize is \(found); expected at least \(expected): 256 bytes, 256 bytes that end a word, 2 special tokens."
    }
  }
}
