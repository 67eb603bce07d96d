/// Why a picture or a folder of pictures could not be read or written. Every message names the file.
public enum ImageError: Error, Equatable, CustomStringConvertible {
  /// The file itself cannot be read: missing, a folder, no permission.
  case unreadable(name: String, reason: String)
  /// The content is something else than a picture that can be read. `found` says what, `advice` what to do.
  case notAPicture(name: String, found: String, advice: String)
  /// The picture ends too early.
  case truncated(name: String, format: ImageFormat)
  /// The picture is damaged; `reason` comes from the decoder.
  case damaged(name: String, format: ImageFormat, reason: String)
  /// A valid file of a kind that is not read, such as an animation.
  case unsupported(name: String, format: ImageFormat, reason: String)
  /// More pixels than `Image.maximumPixelCount`.
  case tooLarge(name: String, width: Int, height: Int)
  /// Not enough memory for the picture.
  case outOfMemory(name: String)
  /// A key or value that PNG metadata cannot hold.
  case invalidText(key: String, reason: String)
  /// A folder without pictures, with something else in it, or with contradictory prompts.
  case invalidFolder(path: String, reason: String)

  public var description: String {
    switch self {
    case .unreadable(let name, let reason):
      "\(name): \(reason); expected a PNG, JPEG or WebP file that can be read"
    case .notAPicture(let name, let found, let advice):
      "\(name): \(found), but a PNG, JPEG or WebP picture is expected; \(advice)"
    case .truncated(let name, let format):
      "\(name): a truncated \(format) file, it ends before its picture does; copy or download it again"
    case .damaged(let name, let format, let reason):
      "\(name): a damaged \(format) file (\(reason)); copy or download it again"
    case .unsupported(let name, let format, let reason):
      "\(name): a \(format) file that cannot be read (\(reason)); convert it to a plain PNG or JPEG"
    case .tooLarge(let name, let width, let height):
      "\(name): \(width) x \(height) pixels, but at most \(Image.maximumPixelCount) are read; scale the picture down"
    case .outOfMemory(let name):
      "\(name): not enough memory for this picture; scale it down"
    case .invalidText(let key, let reason):
      "PNG text \"\(key)\": \(reason)"
    case .invalidFolder(let path, let reason):
      "\(path): \(reason)"
    }
  }
}
