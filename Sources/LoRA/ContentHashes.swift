internal import Crypto
internal import OrderedCollections
internal import SafeTensors

/// What tools know a LoRA by, whatever is later written into its metadata (sd-scripts: library/train_util.py
/// precalculate_safetensors_hashes; SAI Model Spec 1.0: hash_sha256).
struct ContentHashes {
  /// SHA-256 of everything behind the header.
  let content: String
  /// The first eight digits of the SHA-256 of the 64 KiB that begin at 1 MiB, of the file as it would be with metadata of
  /// training alone: what A1111's web UI took before 2023. Of nothing for a shorter file.
  let legacy: String

  static let keys = ["sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"]

  var metadata: OrderedDictionary<String, String> {
    OrderedDictionary(uniqueKeysWithValues: zip(Self.keys, [content, legacy, "0x\(content)"]))
  }

  /// Goes through all bytes of a file to be written, a tensor at a time.
  init(of sources: [SafeTensorsSource], metadata: OrderedDictionary<String, String>, file: String) throws {
    var ofTraining = metadata.filter { $0.key.hasPrefix("ss_") }
    ofTraining.sort()
    let encoding = try SafeTensorsEncoding(sources, metadata: ofTraining, file: file)
    var content = SHA256()
    var window = Window(0x10_0000..<0x11_0000)
    encoding.header.withUnsafeBytes { window.read($0) }
    try encoding.content { bytes in
      content.update(bufferPointer: bytes)
      window.read(bytes)
    }
    self.content = content.finalize().map(hexadecimal).joined()
    legacy = window.hash.finalize().prefix(4).map(hexadecimal).joined()
  }

  /// The hash of a part of a stream.
  private struct Window {
    private let part: Range<Int>
    private var position = 0
    private(set) var hash = SHA256()

    init(_ part: Range<Int>) { self.part = part }

    mutating func read(_ bytes: UnsafeRawBufferPointer) {
      let seen = part.clamped(to: position..<position + bytes.count)
      if !seen.isEmpty {
        hash.update(
          bufferPointer: UnsafeRawBufferPointer(rebasing: bytes[seen.lowerBound - position..<seen.upperBound - position]))
      }
      position += bytes.count
    }
  }
}
