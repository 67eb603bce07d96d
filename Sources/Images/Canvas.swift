/// A picture that is being drawn. What falls outside is cut off.
struct Canvas {
  let width: Int
  let height: Int
  private var pixels: [UInt8]

  init(width: Int, height: Int, color: Color) {
    self.width = width
    self.height = height
    pixels = Image(width: width, height: height, color: color).pixels
  }

  var image: Image { Image(width: width, height: height, pixels: pixels) }

  mutating func draw(_ image: Image, x left: Int, y top: Int) {
    let columns = max(0, -left)..<max(0, -left, min(image.width, width - left))
    for y in 0..<image.height where (0..<height).contains(top + y) && !columns.isEmpty {
      let source = 3 * (y * image.width + columns.lowerBound)
      let target = 3 * ((top + y) * width + left + columns.lowerBound)
      let count = 3 * columns.count
      pixels.replaceSubrange(target..<(target + count), with: image.pixels[source..<(source + count)])
    }
  }

  mutating func fill(x: Int, y: Int, width: Int, height: Int, color: Color) {
    for row in max(0, y)..<max(0, y, min(self.height, y + height)) {
      for column in max(0, x)..<max(0, x, min(self.width, x + width)) {
        let offset = 3 * (row * self.width + column)
        pixels[offset] = color.red
        pixels[offset + 1] = color.green
        pixels[offset + 2] = color.blue
      }
    }
  }

  /// Draws lines of text from the top left corner (x, y).
  mutating func draw(_ lines: [String], x: Int, y: Int, scale: Int, color: Color) {
    for (index, line) in lines.enumerated() {
      draw(line, x: x, y: y + index * BitmapFont.lineHeight * scale, scale: scale, color: color)
    }
  }

  /// Draws lines of text, each centred on column `center`.
  mutating func draw(_ lines: [String], centeredAt center: Int, y: Int, scale: Int, color: Color) {
    for (index, line) in lines.enumerated() {
      let x = center - TextLines.width(line.count, scale: scale) / 2
      draw(line, x: x, y: y + index * BitmapFont.lineHeight * scale, scale: scale, color: color)
    }
  }

  private mutating func draw(_ line: String, x: Int, y: Int, scale: Int, color: Color) {
    for (index, character) in line.enumerated() {
      let left = x + index * BitmapFont.advance * scale
      for (row, bits) in BitmapFont.rows(of: character).enumerated() {
        for column in 0..<BitmapFont.glyphWidth where bits >> (BitmapFont.glyphWidth - 1 - column) & 1 == 1 {
          fill(x: left + column * scale, y: y + row * scale, width: scale, height: scale, color: color)
        }
      }
    }
  }
}

/// Measures text in `BitmapFont` and breaks it into lines.
enum TextLines {
  static func width(_ characters: Int, scale: Int) -> Int {
    max(0, characters * BitmapFont.advance - 1) * scale
  }

  static func height(_ lines: Int, scale: Int) -> Int {
    lines == 0 ? 0 : ((lines - 1) * BitmapFont.lineHeight + BitmapFont.glyphHeight) * scale
  }

  /// How many characters fit in a width.
  static func capacity(_ width: Int, scale: Int) -> Int {
    (width / scale + 1) / BitmapFont.advance
  }

  /// Characters of the longest word.
  static func longestWord(_ text: String) -> Int {
    text.split { $0 == " " || $0.isNewline }.map(\.count).max() ?? 0
  }

  /// Breaks a text at its line ends and, where a line is longer than `length`, at spaces; a longer word is cut.
  static func wrapped(_ text: String, at length: Int) -> [String] {
    precondition(length > 0, "lines need room for a character")
    return text.split(whereSeparator: \.isNewline).flatMap { paragraph in
      var lines: [String] = []
      for word in paragraph.split(separator: " ") {
        if let last = lines.last, last.count + 1 + word.count <= length {
          lines[lines.count - 1] += " " + word
          continue
        }
        var rest = word
        while rest.count > length {
          lines.append(String(rest.prefix(length)))
          rest = rest.dropFirst(length)
        }
        lines.append(String(rest))
      }
      return lines
    }
  }
}
