/// How a camera was held, as EXIF tag 0x0112 writes it. The name says where row 0 and column 0 of the stored picture
/// belong on the upright one (EXIF 2.32, section 4.6.4).
enum ExifOrientation: Int, CaseIterable {
  case topLeft = 1
  case topRight = 2
  case bottomRight = 3
  case bottomLeft = 4
  case leftTop = 5
  case rightTop = 6
  case rightBottom = 7
  case leftBottom = 8

  /// The orientation that a file states. A file without one, or with EXIF data that make no sense, is upright: a
  /// broken note about a picture is no reason to refuse the picture.
  init(of bytes: [UInt8], format: ImageFormat) {
    let block =
      switch format {
      case .png: Self.chunk("eXIf", of: bytes[8...], isPNG: true)
      case .jpeg: Self.exifBlock(jpeg: bytes)
      case .webp: Self.chunk("EXIF", of: bytes[12...], isPNG: false)
      }
    self = block.map(Self.withoutIdentification).flatMap(Self.init(exif:)) ?? .topLeft
  }

  private static let identification: [UInt8] = [0x45, 0x78, 0x69, 0x66, 0, 0]  // "Exif", two zeros

  /// JPEG always has it, WebP by some writers, PNG never.
  private static func withoutIdentification(_ block: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    block.starts(with: identification) ? block.dropFirst(identification.count) : block
  }

  /// The contents of the first chunk of a name, in PNG (size before name, big-endian, a checksum after) or in RIFF (name before size,
  /// little-endian, even lengths).
  private static func chunk(_ name: String, of bytes: ArraySlice<UInt8>, isPNG: Bool) -> ArraySlice<UInt8>? {
    var rest = bytes
    while rest.count >= 8 {
      let (first, second) = (rest.prefix(4), rest.dropFirst(4).prefix(4))
      let digits = isPNG ? Array(first) : Array(second.reversed())
      let size = digits.reduce(0) { $0 << 8 | Int($1) }
      let contents = rest.dropFirst(8).prefix(size)
      guard contents.count == size else { return nil }
      if (isPNG ? second : first).elementsEqual(name.utf8) { return contents }
      rest = rest.dropFirst(8 + size + (isPNG ? 4 : size % 2))
    }
    return nil
  }

  /// The contents of the first APP1 segment that holds EXIF.
  private static func exifBlock(jpeg bytes: [UInt8]) -> ArraySlice<UInt8>? {
    let endOfHeaders: Set<UInt8> = [0xD9, 0xDA]  // end of image, start of scan
    var position = 2  // after the start-of-image marker
    while position + 4 <= bytes.count, bytes[position] == 0xFF {
      let marker = bytes[position + 1]
      if marker == 0xFF {  // a fill byte
        position += 1
        continue
      }
      if endOfHeaders.contains(marker) { return nil }
      // The length counts its own two bytes and not the marker's.
      let length = Int(bytes[position + 2]) << 8 | Int(bytes[position + 3])
      let end = position + 2 + length
      guard length >= 2, end <= bytes.count else { return nil }
      let contents = bytes[(position + 4)..<end]
      if marker == 0xE1, contents.starts(with: identification) { return contents }
      position = end
    }
    return nil
  }

  /// Reads the tag from the first directory of a TIFF structure, in either byte order.
  private init?(exif block: ArraySlice<UInt8>) {
    let bytes = Array(block)
    guard bytes.count >= 8 else { return nil }
    let littleEndian = bytes.starts(with: "II".utf8)
    guard littleEndian || bytes.starts(with: "MM".utf8) else { return nil }

    func integer(at offset: Int, count: Int) -> Int? {
      guard offset >= 0, offset <= bytes.count - count else { return nil }
      let digits = bytes[offset..<(offset + count)]
      return (littleEndian ? Array(digits.reversed()) : Array(digits)).reduce(0) { $0 << 8 | Int($1) }
    }

    guard integer(at: 2, count: 2) == 42, let directory = integer(at: 4, count: 4),
      let entries = integer(at: directory, count: 2)
    else { return nil }
    let short = 3
    for entry in 0..<entries {
      let offset = directory + 2 + 12 * entry
      guard let tag = integer(at: offset, count: 2) else { return nil }
      guard tag == 0x0112 else { continue }
      guard integer(at: offset + 2, count: 2) == short, integer(at: offset + 4, count: 4) == 1,
        let value = integer(at: offset + 8, count: 2)
      else { return nil }
      self.init(rawValue: value)
      return
    }
    return nil
  }
}

extension Image {
  /// The upright picture, given how it was stored.
  func upright(from orientation: ExifOrientation) -> Image {
    let right = width - 1
    let bottom = height - 1
    return switch orientation {
    case .topLeft: self
    case .topRight: remapped(width: width, height: height) { (right - $0, $1) }
    case .bottomRight: remapped(width: width, height: height) { (right - $0, bottom - $1) }
    case .bottomLeft: remapped(width: width, height: height) { ($0, bottom - $1) }
    case .leftTop: remapped(width: height, height: width) { ($1, $0) }
    case .rightTop: remapped(width: height, height: width) { ($1, bottom - $0) }
    case .rightBottom: remapped(width: height, height: width) { (right - $1, bottom - $0) }
    case .leftBottom: remapped(width: height, height: width) { (right - $1, $0) }
    }
  }
}
