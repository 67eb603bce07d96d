internal import Crypto
internal import Foundation
internal import SafeTensors
package import Training

/// A file and what tells whether it is still the same.
public struct FileDigest: Codable, Sendable, Equatable {
  /// As the user gave it.
  public let path: String
  public let bytes: Int
  /// In hexadecimal digits.
  public let sha256: String

  /// Reads a file of any size, a piece at a time.
  public init(of path: String) throws(FileDigestError) {
    var reading = try Reading(path)
    while try reading.next() {}
    self.init(reading)
  }

  private init(_ reading: Reading) {
    (path, bytes, sha256) = (reading.path, reading.bytes, Self.digits(reading.hash.finalize()))
  }

  /// Of what a run reads, to be taken when it is read: until the run is done, the files may be others.
  ///
  /// - Throws: `FileDigestError`; `Interrupted` when the handler answers false.
  package static func ofInputs(_ paths: [String], progress: ProgressHandler) throws -> [FileDigest] {
    let million = 1_000_000
    // Of small files there is nothing to tell.
    let pause = 256 * million
    let total = try paths.reduce(0) { try $0 + Reading($1).size }
    let began = ContinuousClock.now
    var report = ProgressReport(phase: "taking checksums, in MB", step: 0, total: (total + million - 1) / million)
    var (done, told) = (0, 0)
    return try paths.map { path in
      var reading = try Reading(path)
      let before = done
      while try reading.next() {
        done = before + reading.bytes
        guard done - told >= pause || told > 0 && done == total else { continue }
        told = done
        report.step = done < total ? done / million : report.total
        report.secondsPerStep = (ContinuousClock.now - began) / .seconds(1) / Double(report.step)
        try report.send(to: progress)
      }
      return FileDigest(reading)
    }
  }

  /// A digest of a large file's first and last bytes and 254 pieces between them, which no two trainings of a model have alike; of a
  /// small file, of all.
  static func sample(of path: String) throws(FileDigestError) -> String {
    let file = try Reading(path)
    let (pieces, size) = (256, 4096)
    var hash = SHA256()
    for piece in 0..<pieces {
      // Where all pieces together are longer than the file they overlap, and leave nothing out.
      hash.update(data: try file.bytes(from: max(file.size - size, 0) * piece / (pieces - 1), count: size))
    }
    return digits(hash.finalize())
  }

  private static func digits(_ digest: SHA256.Digest) -> String {
    digest.map(hexadecimal).joined()
  }

  /// The digest of texts in this order.
  package static func ofTexts(_ texts: [String]) -> String {
    var hash = SHA256()
    // The count before each text, so that no two lists run together to the same bytes.
    for text in texts { hash.update(data: Data("\(text.utf8.count) \(text)".utf8)) }
    return digits(hash.finalize())
  }
}

/// A file that is being read.
private struct Reading {
  let path: String
  let size: Int
  private(set) var hash = SHA256()
  private(set) var bytes = 0
  private let file: FileHandle

  init(_ path: String) throws(FileDigestError) {
    guard Paths.exists(path) else { throw FileDigestError(path: path, found: "no such file") }
    guard !Paths.isFolder(path) else { throw FileDigestError(path: path, found: "a folder") }
    self.path = path
    (file, size) = try FileDigestError.naming(path) {
      let file = try FileHandle(forReadingFrom: URL(filePath: path))
      let size = Int(try file.seekToEnd())
      try file.seek(toOffset: 0)
      return (file, size)
    }
  }

  /// Takes the next piece in; false at the end.
  mutating func next() throws(FileDigestError) -> Bool {
    let piece = try FileDigestError.naming(path) { try file.read(upToCount: 1 << 22) } ?? Data()
    hash.update(data: piece)
    bytes += piece.count
    return !piece.isEmpty
  }

  func bytes(from offset: Int, count: Int) throws(FileDigestError) -> Data {
    try FileDigestError.naming(path) {
      try file.seek(toOffset: UInt64(offset))
      return try file.read(upToCount: count) ?? Data()
    }
  }
}

/// A file of a run that cannot be read, or not any more.
public struct FileDigestError: Error, CustomStringConvertible, Equatable {
  public let path: String
  let found: String

  public var description: String {
    "\(path): \(found); expected a file that can be read, and that stays in place until the run is done"
  }

  fileprivate static func naming<Result>(_ path: String, _ body: () throws -> Result) throws(FileDigestError) -> Result {
    do {
      return try body()
    } catch {
      throw FileDigestError(path: path, found: "cannot be read (\(error.systemReason))")
    }
  }
}
