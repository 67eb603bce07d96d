import Images
import Testing

@Suite struct DecodingTests {
  /// PNG and lossless WebP are exact. JPEG and lossy WebP may round differently from the libjpeg-turbo and libwebp in
  /// Pillow by 1/255, as expected.json states for each.
  @Test(arguments: Golden.shared.pictures)
  func pixelsMatch(_ picture: Golden.Picture) throws {
    expectClose(try Image(contentsOf: fixturePath(picture.file)), picture.image, tolerance: picture.tolerance)
  }

  @Test func everyKindIsCovered() {
    // 15 colour types and depths and 11 of them with a transparent colour, each with and without interlacing, and one
    // with texts; 6 JPEG; 4 WebP.
    #expect(Golden.shared.pictures.count == (15 + 11) * 2 + 1 + 6 + 4)
  }

  @Test func contentDecidesNotTheName() throws {
    let image = try Image(decoding: fixture("lossless.webp"), name: "picture.png")
    #expect(image == (try Image(contentsOf: fixturePath("lossless.webp"))))
  }

  @Test(arguments: [
    ("Some notes\nabout größe.\n", "a text file", "remove it or give the path of a picture"),
    ("<!DOCTYPE html><html>404</html>", "a web page (HTML)", "download the picture itself"),
    ("<?xml version=\"1.0\"?>\n<svg/>", "an SVG drawing", "convert it to PNG"),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer", "fetch the picture with git lfs pull"),
    ("", "an empty file", "copy or download it again"),
    ("GIF89a\u{1}\u{0}", "a GIF picture", "convert it to PNG"),
    ("BM\u{1}\u{0}", "a BMP picture", "convert it to PNG"),
    ("\0\0\0\u{18}ftypheic\0\0", "a HEIC picture", "convert it to PNG or JPEG"),
    ("\0\0\0\u{1C}ftypavif\0\0", "an AVIF picture", "convert it to PNG or JPEG"),
    ("\0\0\0\u{1C}ftypmp42\0\0", "a video (MP4 or QuickTime)", "extract pictures from it as PNG or JPEG"),
    ("II*\0\u{8}", "a TIFF picture", "convert it to PNG"),
    ("%PDF-1.7", "a PDF document", "export its pictures as PNG"),
    ("PK\u{3}\u{4}", "a ZIP archive", "unpack it"),
    ("\u{1}\u{2}\u{3}", "a file of unknown kind", "remove it or convert it to PNG"),
  ])
  func otherFilesAreNamed(content: String, found: String, advice: String) {
    #expect(throws: ImageError.notAPicture(name: "dog.png", found: found, advice: advice)) {
      try Image(decoding: Array(content.utf8), name: "dog.png")
    }
  }

  @Test func messagesSayWhatWasFoundAndWhatToDo() {
    #expect(
      message { _ = try Image(decoding: Array("hello".utf8), name: "dogs/a.png") }
        == "dogs/a.png: a text file, but a PNG, JPEG or WebP picture is expected; remove it or give the path of a picture")
    #expect(
      message { _ = try Image(decoding: fixture("rgb-8.png").dropLast(20), name: "a.png") }
        == "a.png: a truncated PNG file, it ends before its picture does; copy or download it again")
    #expect(
      message { _ = try Image(contentsOf: "/nowhere/a.png") }
        == "/nowhere/a.png: no such file; expected a PNG, JPEG or WebP file that can be read")
    #expect(message { _ = try Image(contentsOf: "/") } == "/: a folder; expected a PNG, JPEG or WebP file that can be read")
    #expect(
      message { _ = try Image(decoding: fixture("animation.webp"), name: "a.webp") }
        == "a.webp: a WebP file that cannot be read (an animation); convert it to a plain PNG or JPEG")
  }

  @Test("a PNG whose one row would fill the memory is refused before libpng makes room for it")
  func hugeRow() {
    func chunk(_ name: String, _ content: [UInt8]) -> [UInt8] {
      let body = Array(name.utf8) + content
      var crc: UInt32 = 0xFFFF_FFFF
      for byte in body {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
      }
      func big(_ number: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } }
      return big(UInt32(content.count)) + body + big(~crc)
    }
    // 2³¹ − 1 pixels of 8 bytes: 17 GB.
    let header: [UInt8] = [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 16, 6, 0, 0, 0]
    let bytes = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + chunk("IHDR", header) + chunk("IDAT", [0x78, 0x9C])
    #expect(
      message { _ = try Image(decoding: bytes, name: "a.png") }
        == "a.png: 2147483647 x 1 pixels, but at most 268435456 are read; scale the picture down")
    #expect(throws: Never.self) { try Image.pngText(of: bytes) }
  }

  @Test(arguments: [("huge.png", 30_000, 20_000), ("huge.jpg", 30_000, 20_000)])
  func picturesThatWouldFillTheMemoryAreRefused(file: String, width: Int, height: Int) {
    let found = message { _ = try Image(decoding: fixture(file), name: file) }
    #expect(
      found == "\(file): \(width) x \(height) pixels, but at most 268435456 are read; scale the picture down")
  }
}

/// Cut and damaged files: the decoders must neither crash nor hand out a picture with missing parts.
@Suite struct DamageTests {
  static let files = [
    "rgb-8.png", "palette-8-transparent-interlaced.png", "420.jpg", "progressive.jpg", "lossless-alpha.webp",
    "lossy.webp", "lossy-alpha.webp",
  ]

  @Test(arguments: files)
  func noPrefixDecodes(_ file: String) throws {
    let bytes = try fixture(file)
    for count in 0..<bytes.count {
      #expect(throws: ImageError.self, "\(count) of \(bytes.count) bytes") {
        try Image(decoding: Array(bytes.prefix(count)), name: file)
      }
    }
  }

  @Test(arguments: files)
  func everyPrefixPastTheSignatureIsCalledTruncated(_ file: String) throws {
    let bytes = try fixture(file)
    let format = try #require(ImageFormat(of: bytes))
    for count in stride(from: 12, to: bytes.count, by: 7) {
      #expect(throws: ImageError.truncated(name: file, format: format), "\(count) of \(bytes.count) bytes") {
        try Image(decoding: Array(bytes.prefix(count)), name: file)
      }
    }
  }

  /// Whatever byte is wrong, the answer is a picture or an `ImageError`.
  @Test(arguments: files)
  func aWrongByteIsSurvived(_ file: String) throws {
    let bytes = try fixture(file)
    var refused = 0
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0xFF
      do {
        _ = try Image(decoding: damaged, name: file)
      } catch is ImageError {
        refused += 1
      }
    }
    #expect(refused > 0)
  }

  @Test func aWrongChecksumIsNamed() throws {
    var bytes = try fixture("rgb-8.png")
    bytes[20] ^= 1  // inside the header's width
    let found = message { _ = try Image(decoding: bytes, name: "a.png") }
    #expect(found.hasPrefix("a.png: a damaged PNG file ("))
    #expect(found.contains("CRC error"))
  }
}
