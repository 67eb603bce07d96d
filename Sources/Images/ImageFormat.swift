/// The file formats that are read. A file's content decides, never its extension.
public enum ImageFormat: String, Sendable, CaseIterable, CustomStringConvertible {
  case png = "PNG"
  case jpeg = "JPEG"
  case webp = "WebP"

  public var description: String { rawValue }

  /// The format that the first bytes announce, or nil.
  public init?(of bytes: some Collection<UInt8>) {
    if bytes.starts(with: Self.pngSignature) {
      self = .png
    } else if bytes.starts(with: Self.jpegSignature) {
      self = .jpeg
    } else if bytes.starts(with: "RIFF".utf8), bytes.dropFirst(8).starts(with: "WEBP".utf8) {
      self = .webp
    } else {
      return nil
    }
  }

  private static let pngSignature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
  private static let jpegSignature: [UInt8] = [0xFF, 0xD8, 0xFF]

  /// The error for bytes that no format claims: says what they are, where that can be told, and what to do.
  static func unknown(_ bytes: [UInt8], name: String) -> ImageError {
    if let format = cutShort(bytes) { return .truncated(name: name, format: format) }
    if bytes.isEmpty { return .notAPicture(name: name, found: "an empty file", advice: "copy or download it again") }
    for (found, offset, signature, advice) in foreignSignatures where bytes.dropFirst(offset).starts(with: signature) {
      return .notAPicture(name: name, found: found, advice: advice)
    }
    if isText(bytes) {
      let start = String(decoding: bytes.prefix(512), as: UTF8.self).lowercased()
      if start.hasPrefix("version https://git-lfs") {
        return .notAPicture(name: name, found: "a Git LFS pointer", advice: "fetch the picture with git lfs pull")
      }
      if start.contains("<svg") {
        return .notAPicture(name: name, found: "an SVG drawing", advice: "convert it to PNG")
      }
      if start.contains("<html") || start.contains("<!doctype html") {
        return .notAPicture(name: name, found: "a web page (HTML)", advice: "download the picture itself")
      }
      return .notAPicture(name: name, found: "a text file", advice: "remove it or give the path of a picture")
    }
    return .notAPicture(name: name, found: "a file of unknown kind", advice: "remove it or convert it to PNG")
  }

  /// The format whose signature `bytes` starts without completing it.
  private static func cutShort(_ bytes: [UInt8]) -> ImageFormat? {
    if bytes.isEmpty { return nil }
    if pngSignature.starts(with: bytes) { return .png }
    if jpegSignature.starts(with: bytes) { return .jpeg }
    let webp = "WEBP".utf8.starts(with: bytes.dropFirst(8)) && bytes.count > 8
    return webp && bytes.starts(with: "RIFF".utf8) ? .webp : nil
  }

  private static func isText(_ bytes: [UInt8]) -> Bool {
    // A character of more than one byte may be cut at the end of the part looked at.
    let head = bytes.prefix(4096)
    let control = head.contains { $0 < 0x20 && ![0x09, 0x0A, 0x0C, 0x0D].contains($0) || $0 == 0x7F }
    if control { return false }
    return (0...min(3, head.count - 1)).contains { String(validating: head.dropLast($0), as: UTF8.self) != nil }
  }

  private typealias ForeignSignature = (found: String, offset: Int, signature: [UInt8], advice: String)

  private static let foreignSignatures: [ForeignSignature] =
    ["heic", "heix", "hevc", "heim", "heis", "mif1", "msf1"].map {
      ("a HEIC picture", 4, Array("ftyp\($0)".utf8), "convert it to PNG or JPEG")
    } + [
      ("an AVIF picture", 4, Array("ftypavif".utf8), "convert it to PNG or JPEG"),
      ("an AVIF animation", 4, Array("ftypavis".utf8), "convert it to PNG or JPEG"),
      ("a video (MP4 or QuickTime)", 4, Array("ftyp".utf8), "extract pictures from it as PNG or JPEG"),
      ("a JPEG XL picture", 0, [0xFF, 0x0A], "convert it to PNG or JPEG"),
      ("a JPEG XL picture", 4, Array("JXL ".utf8), "convert it to PNG or JPEG"),
      ("a JPEG 2000 picture", 4, Array("jP  ".utf8), "convert it to PNG or JPEG"),
      ("a GIF picture", 0, Array("GIF8".utf8), "convert it to PNG"),
      ("a BMP picture", 0, Array("BM".utf8), "convert it to PNG"),
      ("a TIFF picture", 0, [0x49, 0x49, 0x2A, 0x00], "convert it to PNG"),
      ("a TIFF picture", 0, [0x4D, 0x4D, 0x00, 0x2A], "convert it to PNG"),
      ("a Photoshop document", 0, Array("8BPS".utf8), "export it as PNG"),
      ("a PDF document", 0, Array("%PDF".utf8), "export its pictures as PNG"),
      ("a ZIP archive", 0, [0x50, 0x4B, 0x03, 0x04], "unpack it"),
      ("a gzip archive", 0, [0x1F, 0x8B], "unpack it"),
    ]
}
