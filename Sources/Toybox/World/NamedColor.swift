/// Red, green and blue in 0...1.
struct RGB: Equatable, Sendable {
  var red, green, blue: Double

  init(_ red: Double, _ green: Double, _ blue: Double) { (self.red, self.green, self.blue) = (red, green, blue) }

  static let white = RGB(0.97, 0.97, 0.95)
  static let ink = RGB(0.1, 0.1, 0.13)

  /// Rec. 601 luma.
  var luminance: Double { 0.299 * red + 0.587 * green + 0.114 * blue }

  /// The colour `share` of the way to another.
  func mixed(_ other: RGB, _ share: Double) -> RGB {
    RGB(
      red + (other.red - red) * share, green + (other.green - green) * share, blue + (other.blue - blue) * share)
  }
}

/// The twelve colours that captions can name.
public enum NamedColor: String, CaseIterable, Codable, Sendable {
  case red, orange, yellow, green, teal, blue, purple, pink, brown, gray, white, black

  var rgb: RGB {
    switch self {
    case .red: RGB(0.86, 0.16, 0.15)
    case .orange: RGB(0.97, 0.52, 0.08)
    case .yellow: RGB(0.99, 0.87, 0.2)
    case .green: RGB(0.2, 0.62, 0.24)
    case .teal: RGB(0.1, 0.68, 0.66)
    case .blue: RGB(0.15, 0.35, 0.87)
    case .purple: RGB(0.54, 0.24, 0.74)
    case .pink: RGB(0.98, 0.56, 0.75)
    case .brown: RGB(0.47, 0.28, 0.15)
    case .gray: RGB(0.56, 0.57, 0.59)
    case .white: RGB(0.96, 0.96, 0.94)
    case .black: RGB(0.13, 0.13, 0.16)
    }
  }

  /// Colours that glow on a dark ground.
  static let neon: [NamedColor] = [.red, .orange, .yellow, .green, .teal, .blue, .purple, .pink, .white]
}
