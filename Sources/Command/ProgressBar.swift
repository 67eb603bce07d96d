internal import Foundation
internal import Training

/// Shows progress on standard error: one line that is drawn again on a terminal, a line now and then elsewhere.
final class ProgressBar {
  /// What is told where another process speaks for this one.
  enum Voice {
    case all, warnings, silent
  }

  var voice = Voice.all
  private let isTerminal = StandardStream.errors.isTerminal
  private let clock = ContinuousClock()
  private var shown: ContinuousClock.Instant?
  private var phase: String?

  init() { Interruption.watch() }

  /// Shows where the work stands; false when Ctrl-C was pressed.
  func show(_ progress: ProgressReport) -> Bool {
    if voice != .silent { for warning in progress.warnings { write(line: "warning: \(warning)") } }
    guard voice == .all else { return !Interruption.isAsked }
    let isNew = progress.phase != phase
    let isLast = progress.step >= progress.total
    let pause: Duration = isTerminal ? .milliseconds(200) : .seconds(30)
    if isNew || isLast || shown.map({ clock.now - $0 > pause }) ?? true {
      if isNew, phase != nil, isTerminal { write("\n") }
      write(isTerminal ? "\r\u{1B}[K\(line(progress))" : "\(line(progress))\n")
      if isLast, isTerminal { write("\n") }
      shown = clock.now
      phase = isLast ? nil : progress.phase
    }
    return !Interruption.isAsked
  }

  /// Puts a line of its own on standard error.
  func tell(_ message: String) { if voice == .all { write(line: message) } }

  private func write(line message: String) {
    if isTerminal, phase != nil { write("\r\u{1B}[K") }
    write("\(message)\n")
  }

  /// On a terminal no longer than a row of it: the next one would not be cleared.
  private func line(_ progress: ProgressReport) -> String {
    let left = progress.secondsLeft.map { ", \(Self.time($0)) left" } ?? ""
    let figures = progress.figures.map { "  \($0.name) \(Self.figure($0.value))" }.joined()
    let detail = progress.detail.isEmpty ? "" : "  \(progress.detail)"
    let end = "  \(progress.step)/\(progress.total)\(left)\(detail)\(figures)"
    // After the last column some terminals begin a new row.
    let room = (isTerminal ? StandardStream.errors.columns : nil).map { max($0 - 1, 1) } ?? .max
    let width = min(24, max(4, room - progress.phase.count - 2 - end.count))
    let filled = progress.total == 0 ? width : min(width, width * progress.step / progress.total)
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    let line = "\(progress.phase)  \(bar)\(end)"
    return line.count > room ? "\(line.prefix(room - 1))…" : line
  }

  /// What cannot be told, on a full disk say, must not end the work.
  private func write(_ text: String) { _ = StandardStream.errors.send(text) }

  static func time(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded())
    if whole < 60 { return "\(whole) s" }
    if whole < 3600 { return "\(whole / 60):" + String(format: "%02d", whole % 60) + " min" }
    return "\(whole / 3600):" + String(format: "%02d", whole / 60 % 60) + " h"
  }

  static func figure(_ value: Double) -> String {
    value != 0 && abs(value) < 0.001 ? String(format: "%.2e", value) : String(format: "%.4g", value)
  }
}
