internal import Foundation

/// Where a run that was stopped goes on from.
public struct SavedState: Codable, Sendable, Equatable {
  /// Beside the output, and removed once that is written, when nil. A file that is named is kept.
  public var path: String?
  /// Seconds between saves.
  public var every: Double

  public init(path: String? = nil, every: Double = 60) {
    self.path = path
    self.every = every
  }

  func validate() throws(SettingError) { try Demand.seconds(every, "save-every") }

  func path(beside output: AdapterOutput) -> String { path ?? "\(output.stem).state.safetensors" }

  /// Keeps the state to one run as long as that goes on.
  ///
  /// - Throws: `SettingError` where another run has it.
  func lock(beside output: AdapterOutput) throws(SettingError) -> FileLock {
    let state = path(beside: output)
    return try FileLock(
      "\(Paths.folder(of: state))/.\(Paths.name(state)).lock",
      refusal: "\(state): another run is at work with this state; let it finish or stop it, or choose another "
        + (self.path == nil ? "--output" : "--state"))
  }

  /// Called when the result is written.
  func finish(beside output: AdapterOutput) throws {
    guard path == nil else { return }
    let state = path(beside: output)
    if Paths.exists(state) { try FileManager.default.removeItem(atPath: state) }
  }
}
