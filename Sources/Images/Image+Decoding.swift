internal import CImage
internal import Foundation
internal import SafeTensors

extension Image {
  /// The most pixels that are decoded, 2^28: a few kilobytes of a crafted file can announce terabytes.
  public static let maximumPixelCount = 1 << 28

  /// Reads a PNG, JPEG or WebP file.
  ///
  /// - Throws: `ImageError`, which names the file, says what it is and what to do.
  public init(contentsOf path: String) throws {
    try self.init(decoding: Self.fileContents(path), name: path)
  }

  /// Decodes a PNG, JPEG or WebP file in memory, told apart by content.
  ///
  /// - PNG: every colour type and bit depth, interlaced or not; 16 bits are rounded to 8.
  /// - JPEG: grey, YCbCr, RGB, CMYK and YCCK. Inks are taken as inverted, as Adobe writes them, and mixed as
  ///   (255 - ink)(255 - black) / 255, which is what Pillow does.
  /// - WebP: lossy and lossless, no animations.
  /// - The picture is turned as its EXIF orientation says, in any format.
  /// - Transparency is composited over white.
  ///
  /// - Parameter name: what errors call the picture, such as its path.
  /// - Throws: `ImageError`. A picture that is cut short or damaged is refused, not patched up with grey.
  public init(decoding bytes: [UInt8], name: String) throws {
    guard let format = ImageFormat(of: bytes) else { throw ImageFormat.unknown(bytes, name: name) }
    let limit = UInt64(Self.maximumPixelCount)
    var result = bytes.withUnsafeBufferPointer { buffer in
      switch format {
      case .png: cimage_decode_png(buffer.baseAddress, buffer.count, limit)
      case .jpeg: cimage_decode_jpeg(buffer.baseAddress, buffer.count, limit)
      case .webp: cimage_decode_webp(buffer.baseAddress, buffer.count, limit)
      }
    }
    defer { cimage_result_free(&result) }
    guard result.status == CIMAGE_OK else {
      let reason = result.message.map { String(cString: $0) } ?? "out of memory"
      let size = (width: Int(result.width), height: Int(result.height))
      throw ImageError(result.status, name: name, format: format, reason: reason, size: size)
    }
    let pixels = Array(UnsafeBufferPointer(start: result.bytes, count: result.count))
    let stored = Image(width: Int(result.width), height: Int(result.height), pixels: pixels)
    self = stored.upright(from: ExifOrientation(of: bytes, format: format))
  }

  /// Whether it is neither a folder nor something that may never end, such as a pipe.
  static func isRegularFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }

  /// - Parameter limit: bytes to read at most; all when nil.
  static func fileContents(_ path: String, upTo limit: Int? = nil) throws -> [UInt8] {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
      throw ImageError.unreadable(name: path, reason: "no such file")
    }
    if isFolder.boolValue { throw ImageError.unreadable(name: path, reason: "a folder") }
    guard isRegularFile(path) else { throw ImageError.unreadable(name: path, reason: "no regular file") }
    do {
      guard let limit else { return try [UInt8](Data(contentsOf: URL(filePath: path))) }
      let file = try FileHandle(forReadingFrom: URL(filePath: path))
      defer { try? file.close() }
      return try file.read(upToCount: limit).map([UInt8].init) ?? []
    } catch {
      throw ImageError.unreadable(name: path, reason: "cannot be read (\(error.systemReason))")
    }
  }
}

extension ImageError {
  /// The error for a status of `CImage` other than success.
  init(_ status: cimage_status, name: String, format: ImageFormat, reason: String, size: (width: Int, height: Int)) {
    self =
      switch status {
      case CIMAGE_TRUNCATED: .truncated(name: name, format: format)
      case CIMAGE_UNSUPPORTED: .unsupported(name: name, format: format, reason: reason)
      case CIMAGE_TOO_LARGE: .tooLarge(name: name, width: size.width, height: size.height)
      case CIMAGE_OUT_OF_MEMORY: .outOfMemory(name: name)
      default: .damaged(name: name, format: format, reason: reason)
      }
  }
}
