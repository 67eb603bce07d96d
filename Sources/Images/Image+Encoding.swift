internal import CImage
internal import SafeTensors

extension Image {
  /// This picture as a PNG file in memory, 8-bit RGB.
  ///
  /// The same picture and text give the same bytes with the same zlib: nothing of the clock or the machine goes in.
  ///
  /// - Parameter text: metadata, written in this order before the pixels: a `tEXt` chunk where the value is Latin-1,
  ///   else an uncompressed `iTXt` chunk in UTF-8. A key is 1 to 79 printable Latin-1 characters without leading,
  ///   trailing or double spaces (PNG specification 11.3.3.2); neither holds U+0000.
  /// - Throws: `ImageError.invalidText` for a key or value outside these rules.
  public func png(text: [(key: String, value: String)] = []) throws -> [UInt8] {
    let chunks = try text.map(PNGText.init)
    // libpng takes pointers, which stay valid while these copies do.
    var entries = chunks.map { chunk in
      cimage_text_entry(key: Self.cString(chunk.key), value: Self.cString(chunk.value), utf8: chunk.isUTF8)
    }
    defer {
      for entry in entries {
        entry.key.deallocate()
        entry.value.deallocate()
      }
    }
    var result = pixels.withUnsafeBufferPointer { buffer in
      cimage_encode_png(buffer.baseAddress, UInt32(width), UInt32(height), &entries, entries.count)
    }
    defer { cimage_result_free(&result) }
    guard result.status == CIMAGE_OK else {
      let reason = result.message.map { String(cString: $0) } ?? "out of memory"
      throw ImageError(result.status, name: "PNG encoder", format: .png, reason: reason, size: (width, height))
    }
    return Array(UnsafeBufferPointer(start: result.bytes, count: result.count))
  }

  /// Writes this picture as a PNG file that appears whole or not at all.
  ///
  /// - Parameters:
  ///   - text: metadata, as for ``png(text:)``.
  ///   - overwrite: whether a file of that name may be replaced; else it is an error.
  /// - Throws: `ImageError.invalidText`, and `AtomicFileError` where the disk refuses.
  public func write(to path: String, text: [(key: String, value: String)] = [], overwrite: Bool = false) throws {
    try AtomicFile.write(png(text: text), to: path, overwrite: overwrite)
  }

  /// The texts of a PNG file in memory, in the order of the file; keys may repeat.
  ///
  /// - Parameter name: what errors call the picture, such as its path.
  /// - Throws: `ImageError` when the bytes are no PNG, or a broken one.
  public static func pngText(of bytes: [UInt8], name: String = "PNG data") throws -> [(key: String, value: String)] {
    guard let format = ImageFormat(of: bytes) else { throw ImageFormat.unknown(bytes, name: name) }
    guard format == .png else {
      throw ImageError.unsupported(name: name, format: format, reason: "only PNG text can be read")
    }
    var result = cimage_read_png_text(bytes, bytes.count, UInt64(maximumPixelCount))
    defer { cimage_text_free(&result) }
    guard result.status == CIMAGE_OK else {
      let reason = result.message.map { String(cString: $0) } ?? "out of memory"
      throw ImageError(result.status, name: name, format: .png, reason: reason, size: (0, 0))
    }
    return UnsafeBufferPointer(start: result.entries, count: result.count).map { entry in
      (key: latin1(entry.key), value: entry.utf8 ? String(cString: entry.value) : latin1(entry.value))
    }
  }

  private static func cString(_ bytes: [UInt8]) -> UnsafeMutablePointer<CChar> {
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
    for (index, byte) in bytes.enumerated() { copy[index] = CChar(bitPattern: byte) }
    copy[bytes.count] = 0
    return copy
  }

  private static func latin1(_ text: UnsafePointer<CChar>) -> String {
    var string = String.UnicodeScalarView()
    var next = text
    while next.pointee != 0 {
      string.append(Unicode.Scalar(UInt8(bitPattern: next.pointee)))
      next += 1
    }
    return String(string)
  }
}

/// A key and value in the bytes of a PNG text chunk.
private struct PNGText {
  let key: [UInt8]
  let value: [UInt8]
  let isUTF8: Bool

  init(key: String, value: String) throws {
    func invalid(_ reason: String) -> ImageError { .invalidText(key: key, reason: reason) }

    guard let keyBytes = Self.latin1(key), (1...79).contains(keyBytes.count) else {
      throw invalid("a key is 1 to 79 Latin-1 characters")
    }
    guard keyBytes.allSatisfy({ (0x20...0x7E).contains($0) || $0 >= 0xA1 }) else {
      throw invalid("a key has printable characters only")
    }
    if key.hasPrefix(" ") || key.hasSuffix(" ") || key.contains("  ") {
      throw invalid("a key has no leading, trailing or double spaces")
    }
    if value.utf8.contains(0) { throw invalid("the value contains U+0000, which ends a text in PNG") }
    self.key = keyBytes
    let latin1 = Self.latin1(value)
    self.value = latin1 ?? Array(value.utf8)
    isUTF8 = latin1 == nil
  }

  private static func latin1(_ string: String) -> [UInt8]? {
    let bytes = string.unicodeScalars.compactMap { UInt8(exactly: $0.value) }
    return bytes.count == string.unicodeScalars.count ? bytes : nil
  }
}
