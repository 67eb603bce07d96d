import Images
import Testing

@Suite struct OrientationTests {
  /// A JPEG with an APP1 segment of the given contents right after its start.
  func jpeg(segment contents: [UInt8]) throws -> [UInt8] {
    let length = contents.count + 2
    let bytes = try fixture("444.jpg")
    return bytes.prefix(2) + [0xFF, 0xE1, UInt8(length >> 8), UInt8(length & 0xFF)] + contents + bytes.dropFirst(2)
  }

  /// EXIF with the orientation as the second of two entries.
  func exif(_ orientation: Int, littleEndian: Bool, type: Int = 3, count: Int = 1, directory: Int = 8) -> [UInt8] {
    func integer(_ value: Int, _ bytes: Int) -> [UInt8] {
      let digits = (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
      return littleEndian ? digits : digits.reversed()
    }
    let header = Array("Exif\0\0".utf8) + Array((littleEndian ? "II" : "MM").utf8) + integer(42, 2) + integer(directory, 4)
    let model = integer(0x0110, 2) + integer(2, 2) + integer(4, 4) + Array("Cam\0".utf8)
    let entry = integer(0x0112, 2) + integer(type, 2) + integer(count, 4) + integer(orientation, 2) + [0, 0]
    return header + integer(2, 2) + model + entry + integer(0, 4)
  }

  @Test(arguments: 1...8, [true, false])
  func everyOrientationIsApplied(_ orientation: Int, littleEndian: Bool) throws {
    let bytes = try jpeg(segment: exif(orientation, littleEndian: littleEndian))
    expectClose(
      try Image(decoding: bytes, name: "a.jpg"), Golden.shared.oriented[orientation - 1].image, tolerance: 1)
  }

  /// The same note in the other formats, before the pixels of a PNG and after those of a WebP.
  @Test(arguments: 1...8) func otherFormatsAreTurned(_ orientation: Int) throws {
    let note = exif(orientation, littleEndian: false)
    func digits(_ number: Int) -> [UInt8] { (0..<4).reversed().map { UInt8(truncatingIfNeeded: number >> (8 * $0)) } }
    let png = try fixture("rgb-8.png")
    // libpng asks for the checksum of a chunk that it knows.
    let chunk = Array("eXIf".utf8) + note.dropFirst(6)
    let checksum = chunk.reduce(UInt32.max) { sum, byte in
      (0..<8).reduce(sum ^ UInt32(byte)) { bits, _ in bits >> 1 ^ (bits & 1 == 1 ? 0xEDB8_8320 : 0) }
    }
    let header = 8 + 25
    var turned = png
    turned.insert(contentsOf: digits(chunk.count - 4) + chunk + digits(Int(~checksum)), at: header)
    expectClose(
      try Image(decoding: turned, name: "a.png"), try upright(Image(decoding: png, name: "a.png"), orientation))

    let webp = try fixture("lossless.webp")
    for note in [note, Array(note.dropFirst(6))] {
      let padded = note + (note.count % 2 == 0 ? [] : [0])
      let body = webp.dropFirst(8) + Array("EXIF".utf8) + digits(note.count).reversed() + padded
      let turned = Array("RIFF".utf8) + digits(body.count).reversed() + body
      expectClose(
        try Image(decoding: Array(turned), name: "a.webp"), try upright(Image(decoding: webp, name: "a.webp"), orientation))
    }
  }

  /// By the table of EXIF: where row 0 and column 0 belong.
  func upright(_ image: Image, _ orientation: Int) throws -> Image {
    let (width, height) = (image.width, image.height)
    let isTurned = orientation > 4
    var pixels: [UInt8] = []
    for y in 0..<(isTurned ? width : height) {
      for x in 0..<(isTurned ? height : width) {
        let (column, row) = isTurned ? (y, x) : (x, y)
        let fromRight = [2, 3, 7, 8].contains(orientation)
        let fromBottom = [3, 4, 6, 7].contains(orientation)
        let place = (fromBottom ? height - 1 - row : row) * width + (fromRight ? width - 1 - column : column)
        pixels += image.pixels[(3 * place)..<(3 * place + 3)]
      }
    }
    return Image(width: isTurned ? height : width, height: isTurned ? width : height, pixels: pixels)
  }

  @Test func theExpectedPicturesDiffer() {
    let images = Golden.shared.oriented.map(\.image)
    for (index, image) in images.enumerated() {
      #expect(!images[..<index].contains(image), "orientation \(index + 1) looks like another one")
    }
  }

  @Test func malformedDataAreIgnored() throws {
    let upright = try Image(contentsOf: fixturePath("444.jpg"))
    let good = exif(6, littleEndian: true)
    var segments = [
      exif(0, littleEndian: true), exif(9, littleEndian: false), exif(0xFFFF, littleEndian: true),
      exif(6, littleEndian: true, type: 4), exif(6, littleEndian: true, count: 2),
      exif(6, littleEndian: false, directory: 0xFFFF_FFF0), exif(6, littleEndian: true, directory: 60),
      Array("Exif\0\0".utf8), Array("http://ns.adobe.com/xap/1.0/\0<x/>".utf8), [],
    ]
    var wrongMagic = good
    wrongMagic[8] = 43
    segments.append(wrongMagic)
    // Cut anywhere up to the value of the orientation.
    segments += (0..<(good.count - 6)).map { Array(good.prefix($0)) }
    for segment in segments {
      expectClose(try Image(decoding: jpeg(segment: segment), name: "a.jpg"), upright)
    }
  }
}
