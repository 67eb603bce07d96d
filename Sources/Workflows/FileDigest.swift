internal import Crypto
internal import Foundation
internal import SafeTensors

/// A file and what tells whether it is still the same.
public struct FileDigest: Codable, Sendable, Equatable {
  /// As the user gave it.
  public let path: String
  public let bytes: Int
  /// In hexadecimal digits.
  public let sha256: String

  /// Reads a file of any size, a piece at a time.
  public init(of path: String) throws {
    let file = try FileHandle(forReadingFrom: URL(filePath: path))
    defer { try? file.close() }
    var hash = SHA256()
    var bytes = 0
    while let piece = try file.read(upToCount: 1 << 22), !piece.isEmpty {
      hash.update(data: piece)
      bytes += piece.count
    }
    self.path = path
    self.bytes = bytes
    sha256 = Self.digits(hash.finalize())
  }

  /// A digest of a large file's first and last bytes and 254 pieces between them, which no two trainings of a model have alike; of a
  /// small file, of all.
  static func sample(of path: String) throws -> String {
    let file = try FileHandle(forReadingFrom: URL(filePath: path))
    defer { try? file.close() }
    let (pieces, size) = (256, 4096)
    let bytes = Int(try file.seekToEnd())
    var hash = SHA256()
    for piece in 0..<pieces {
      // Where all pieces together are longer than the file they overlap, and leave nothing out.
      try file.seek(toOffset: UInt64(max(bytes - size, 0) * piece / (pieces - 1)))
      hash.update(data: try file.read(upToCount: size) ?? Data())
    }
    return digits(hash.finalize())
  }

  private static func digits(_ digest: SHA256.Digest) -> String {
    digest.map(hexadecimal).joined()
  }

  /// The digest of texts in this order.
  static func ofTexts(_ texts: [String]) -> String {
    var hash = SHA256()
    // The count before each text, so that no two lists run together to the same bytes.
    for text in texts { hash.update(data: Data("\(text.utf8.count) \(text)".utf8)) }
    return digits(hash.finalize())
  }
}
