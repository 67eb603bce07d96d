/// A picture of 8-bit red, green and blue samples.
///
/// There is no alpha channel (transparency is composited over white when a file is decoded) and no colour management:
/// samples are taken as sRGB and embedded profiles are not applied.
public struct Image: Sendable, Equatable {
  public let width: Int
  public let height: Int
  /// Red, green, blue of each pixel, row after row from the top left: `3 * width * height` bytes.
  public let pixels: [UInt8]

  /// A picture of the given samples. An empty picture or a wrong number of samples is a bug and traps.
  public init(width: Int, height: Int, pixels: [UInt8]) {
    precondition(width > 0 && height > 0, "a picture of \(width) x \(height) has no pixels")
    precondition(pixels.count == 3 * width * height, "\(pixels.count) samples for \(width) x \(height) pixels of 3")
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// A picture of one colour.
  public init(width: Int, height: Int, color: Color) {
    let pixels = [UInt8](unsafeUninitializedCapacity: 3 * width * height) { buffer, count in
      while count < 3 * width * height {
        buffer[count] = color.red
        buffer[count + 1] = color.green
        buffer[count + 2] = color.blue
        count += 3
      }
    }
    self.init(width: width, height: height, pixels: pixels)
  }

  /// The colour of the pixel in column `x` and row `y`, counted from the top left.
  public subscript(x: Int, y: Int) -> Color {
    precondition((0..<width).contains(x) && (0..<height).contains(y), "no pixel (\(x), \(y)) in \(width) x \(height)")
    let offset = 3 * (y * width + x)
    return Color(red: pixels[offset], green: pixels[offset + 1], blue: pixels[offset + 2])
  }

  /// A picture whose pixel (x, y) is this picture's pixel `source(x, y)`.
  func remapped(width: Int, height: Int, source: (_ x: Int, _ y: Int) -> (x: Int, y: Int)) -> Image {
    let pixels = [UInt8](unsafeUninitializedCapacity: 3 * width * height) { buffer, count in
      self.pixels.withUnsafeBufferPointer { samples in
        for y in 0..<height {
          for x in 0..<width {
            let (sourceX, sourceY) = source(x, y)
            let offset = 3 * (sourceY * self.width + sourceX)
            for channel in 0..<3 {
              buffer[count + channel] = samples[offset + channel]
            }
            count += 3
          }
        }
      }
    }
    return Image(width: width, height: height, pixels: pixels)
  }
}

/// An 8-bit sRGB colour.
public struct Color: Sendable, Equatable {
  public var red: UInt8
  public var green: UInt8
  public var blue: UInt8

  public init(red: UInt8, green: UInt8, blue: UInt8) {
    self.red = red
    self.green = green
    self.blue = blue
  }

  /// A grey of the given level.
  public init(gray level: UInt8) {
    self.init(red: level, green: level, blue: level)
  }

  public static let white = Color(gray: 255)
  public static let black = Color(gray: 0)
}
