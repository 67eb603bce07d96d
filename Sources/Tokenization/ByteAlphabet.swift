/// The printable characters that stand for the 256 bytes in `vocab.json` and `merges.txt` (openai/CLIP: `bytes_to_unicode`).
///
/// Bytes that Latin-1 prints keep their character, in this order: `!`…`~`, `¡`…`¬`, `®`…`ÿ`; the others take U+0100 onwards.
/// CLIP numbers its tokens in the same order, which makes `!` token 0.
enum ByteAlphabet {
  /// Ends the last symbol of a word.
  static let endOfWord = "</w>"

  /// All bytes, in the order of CLIP's base vocabulary.
  static let order: [UInt8] = printable + (0...255).filter { !printable.contains($0) }

  /// The character of each byte, indexed by byte.
  static let characters: [Unicode.Scalar] = {
    var characters = (0...255).map { Unicode.Scalar(UInt8($0)) }
    for (offset, byte) in order.dropFirst(printable.count).enumerated() {
      characters[Int(byte)] = Unicode.Scalar(UInt16(0x100 + offset))!
    }
    return characters
  }()

  /// The byte of each character.
  static let bytes: [Unicode.Scalar: UInt8] = Dictionary(
    uniqueKeysWithValues: zip(characters, UInt8.min...UInt8.max))

  private static let printable: [UInt8] = Array(0x21...0x7E) + Array(0xA1...0xAC) + Array(0xAE...0xFF)
}
