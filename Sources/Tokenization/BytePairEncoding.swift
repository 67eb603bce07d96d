internal import HeapModule
internal import OrderedCollections
internal import Synchronization

/// Two neighbouring symbols that become one token; its rank is its place in the list of merges.
public struct BPEMerge: Hashable, Sendable {
  public let left: String
  public let right: String

  public init(_ left: String, _ right: String) {
    self.left = left
    self.right = right
  }

  /// The token that the two symbols become.
  public var product: String { left + right }
}

/// A pair of token ids.
struct TokenPair: Hashable {
  let left: Int
  let right: Int
}

/// Byte-level byte-pair encoding of single words, with `</w>` on the last symbol (tokenizers: models/bpe).
struct BytePairEncoding: Sendable {
  private struct Product { let rank, id: Int }

  /// Token id of each byte inside a word, and at its end.
  private let innerIDs: [Int]
  private let finalIDs: [Int]
  private let products: [TokenPair: Product]
  private let cache = WordCache()

  /// - Parameters:
  ///   - unknownID: stands for bytes that the vocabulary lacks; CLIP's own vocabulary lacks none.
  ///   - origin: names vocabulary and merges in errors.
  init(
    vocabulary: OrderedDictionary<String, Int>, merges: [BPEMerge], unknownID: Int, origin: TokenizerOrigin
  ) throws(TokenizerError) {
    let letters = ByteAlphabet.characters.map { String($0) }
    innerIDs = letters.map { vocabulary[$0] ?? unknownID }
    finalIDs = letters.map { vocabulary[$0 + ByteAlphabet.endOfWord] ?? unknownID }
    var products: [TokenPair: Product] = [:]
    products.reserveCapacity(merges.count)
    for (rank, merge) in merges.enumerated() {
      func id(_ token: String) throws(TokenizerError) -> Int {
        if let id = vocabulary[token] { return id }
        throw .mergeOutOfVocabulary(
          path: origin.merges, line: origin.firstMergeLine + rank, merge: "\(merge.left) \(merge.right)", token: token)
      }
      let pair = TokenPair(left: try id(merge.left), right: try id(merge.right))
      products[pair] = Product(rank: rank, id: try id(merge.product))
    }
    self.products = products
  }

  /// The token ids of one word, given as UTF-8.
  func ids(of word: [UInt8]) -> [Int] {
    cache.value(for: word) {
      guard let last = word.last else { return [] }
      return merged(word.dropLast().map { innerIDs[Int($0)] } + [finalIDs[Int(last)]])
    }
  }

  /// Applies the merge of lowest rank, leftmost first, until none applies.
  ///
  /// O(n log n): the symbols form a linked list, and a heap holds the merges that were possible when they were seen; those whose
  /// symbols have changed since are skipped when they come up.
  private func merged(_ symbols: [Int]) -> [Int] {
    var ids: [Int?] = symbols
    var next = Array(1...symbols.count)
    var previous = Array(-1..<(symbols.count - 1))
    var candidates = Heap<Candidate>()

    func product(at position: Int) -> Product? {
      guard position >= 0, next[position] < ids.count, let left = ids[position], let right = ids[next[position]] else {
        return nil
      }
      return products[TokenPair(left: left, right: right)]
    }
    func consider(_ position: Int) {
      guard let product = product(at: position) else { return }
      candidates.insert(Candidate(rank: product.rank, position: position, id: product.id))
    }

    symbols.indices.forEach(consider)
    while let candidate = candidates.popMin() {
      let position = candidate.position
      // The pair need only still make the same token, as in tokenizers' own loop; its rank may have changed meanwhile.
      guard product(at: position)?.id == candidate.id else { continue }
      ids[position] = candidate.id
      ids[next[position]] = nil
      next[position] = next[next[position]]
      if next[position] < ids.count { previous[next[position]] = position }
      consider(previous[position])
      consider(position)
    }
    return ids.compactMap(\.self)
  }
}

extension BytePairEncoding {
  private struct Candidate: Comparable {
    let rank, position, id: Int

    static func < (a: Self, b: Self) -> Bool { (a.rank, a.position) < (b.rank, b.position) }
  }

  /// Remembers the tokens of words met before; copies of a tokenizer share it.
  private final class WordCache: Sendable {
    private static let capacity = 10_000
    private static let longestWord = 256
    private let storage = Mutex<[[UInt8]: [Int]]>([:])

    func value(for word: [UInt8], make: () -> [Int]) -> [Int] {
      if let known = storage.withLock({ $0[word] }) { return known }
      let value = make()
      if word.count <= Self.longestWord {
        storage.withLock { if $0.count < Self.capacity { $0[word] = value } }
      }
      return value
    }
  }
}
