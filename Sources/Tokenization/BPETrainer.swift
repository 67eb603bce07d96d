public import OrderedCollections

internal import HeapModule

/// Learns a byte-pair vocabulary in CLIP's scheme from a corpus, for models too small for CLIP's 49,408 tokens.
///
/// Ids 0–255 are the bytes, 256–511 the bytes that end a word, then one token for each merge, then `<|startoftext|>` and
/// `<|endoftext|>`: CLIP's own order. Any text can be encoded, whatever the corpus.
public enum BPETrainer {
  /// The tokens before the first merge.
  public static let baseVocabulary: [String] = {
    let letters = ByteAlphabet.order.map { String(ByteAlphabet.characters[Int($0)]) }
    return letters + letters.map { $0 + ByteAlphabet.endOfWord }
  }()

  /// Merges the most frequent pair of neighbouring symbols, counted over all words of the corpus, until the vocabulary has
  /// `vocabularySize` tokens or no pair is left; the vocabulary is then smaller.
  ///
  /// Of pairs as frequent as each other the one with the smaller left id, then the smaller right id, is merged first, so the
  /// result depends on the words and their counts alone. Words are those of ``CLIPTokenizer``.
  ///
  /// - Parameter vocabularySize: at least 514, the base vocabulary and the two special tokens.
  public static func train(
    corpus: [String], vocabularySize: Int
  ) throws(TokenizerError) -> (vocabulary: OrderedDictionary<String, Int>, merges: [BPEMerge]) {
    let special = [CLIPTokenizer.Configuration().bosToken.content, CLIPTokenizer.Configuration().eosToken.content]
    let smallest = baseVocabulary.count + special.count
    guard vocabularySize >= smallest else {
      throw .vocabularyTooSmall(found: vocabularySize, expected: smallest)
    }
    var tokens = OrderedSet(baseVocabulary)
    var merges: [BPEMerge] = []
    var words = WordStatistics(corpus: corpus, tokens: tokens)
    while tokens.count + special.count < vocabularySize, let pair = words.popMostFrequentPair() {
      let merge = BPEMerge(tokens[pair.left], tokens[pair.right])
      merges.append(merge)
      // Two merges can make one token: "a" + "bc" and "ab" + "c".
      words.merge(pair, into: tokens.append(merge.product).index)
    }
    let vocabulary = OrderedDictionary(
      uniqueKeysWithValues: (tokens.elements + special).enumerated().map { ($0.element, $0.offset) })
    return (vocabulary, merges)
  }
}

/// The distinct words of a corpus as symbols, and how often each pair of neighbouring symbols occurs in all of them.
private struct WordStatistics {
  private struct Word {
    var symbols: [Int]
    let count: Int
  }

  /// A pair with its count at the time it was queued.
  private struct Candidate: Comparable {
    let pair: TokenPair
    let count: Int

    /// The greatest is the most frequent, then the one with the smallest ids.
    static func < (a: Self, b: Self) -> Bool {
      (a.count, b.pair.left, b.pair.right) < (b.count, a.pair.left, a.pair.right)
    }
  }

  private var words: [Word] = []
  private var counts: [TokenPair: Int] = [:]
  /// Indices of the words in which a pair has occurred; it may have vanished from some since.
  private var occurrences: [TokenPair: OrderedSet<Int>] = [:]
  private var queue = Heap<Candidate>()

  init(corpus: [String], tokens: OrderedSet<String>) {
    var wordCounts: OrderedDictionary<[UInt8], Int> = [:]
    for text in corpus {
      for word in CLIPText.words(in: CLIPText.normalized(text.unicodeScalars)[...]) {
        wordCounts[word, default: 0] += 1
      }
    }
    let letters = ByteAlphabet.characters.map { String($0) }
    let innerIDs = letters.map { tokens.firstIndex(of: $0)! }
    let finalIDs = letters.map { tokens.firstIndex(of: $0 + ByteAlphabet.endOfWord)! }
    for (bytes, count) in wordCounts {
      let symbols = bytes.dropLast().map { innerIDs[Int($0)] } + bytes.suffix(1).map { finalIDs[Int($0)] }
      words.append(Word(symbols: symbols, count: count))
      add(pairsOf: words.count - 1, sign: 1)
    }
    for (pair, count) in counts { queue.insert(Candidate(pair: pair, count: count)) }
  }

  /// Removes the pair that is to be merged next; nil if every word is one symbol.
  mutating func popMostFrequentPair() -> TokenPair? {
    while let candidate = queue.popMax() {
      // Every change of a count queues the pair again, so an outdated entry is of no use.
      if candidate.count > 0, counts[candidate.pair] == candidate.count { return candidate.pair }
    }
    return nil
  }

  /// Replaces each occurrence of `pair`, from left to right.
  mutating func merge(_ pair: TokenPair, into id: Int) {
    var changed: OrderedSet<TokenPair> = []
    for index in occurrences.removeValue(forKey: pair) ?? [] {
      changed.formUnion(add(pairsOf: index, sign: -1))
      words[index].symbols = Self.replacing(pair, by: id, in: words[index].symbols)
      changed.formUnion(add(pairsOf: index, sign: 1))
    }
    for pair in changed {
      queue.insert(Candidate(pair: pair, count: counts[pair, default: 0]))
    }
  }

  @discardableResult
  private mutating func add(pairsOf index: Int, sign: Int) -> [TokenPair] {
    let word = words[index]
    let pairs = zip(word.symbols, word.symbols.dropFirst()).map { TokenPair(left: $0, right: $1) }
    for pair in pairs {
      counts[pair, default: 0] += sign * word.count
      occurrences[pair, default: []].append(index)
    }
    return pairs
  }

  private static func replacing(_ pair: TokenPair, by id: Int, in symbols: [Int]) -> [Int] {
    var result: [Int] = []
    var rest = symbols[...]
    while let first = rest.popFirst() {
      if first == pair.left, rest.first == pair.right {
        rest = rest.dropFirst()
        result.append(id)
      } else {
        result.append(first)
      }
    }
    return result
  }
}
