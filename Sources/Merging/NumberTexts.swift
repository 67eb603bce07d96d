internal import Foundation

extension Double {
  /// Three significant digits, for messages.
  var formatted: String { String(format: "%.3g", self) }

  /// As the command line takes it, with every digit: a seed has no point.
  package var shortest: String { Int(exactly: self).map(String.init) ?? "\(self)" }
}
