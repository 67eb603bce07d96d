internal import Foundation
internal import Hub
internal import Training

extension Hub {
  /// Where on this disk that is what a user names by its path or by its id.
  ///
  /// A path that is there goes before a model of that id. What is neither is left for others to complain about.
  func local(
    _ source: String, _ selection: HubSelection, _ progress: ProgressHandler
  ) throws -> String {
    guard !Paths.exists(source), let id = HubID(source) else { return source }
    let million = 1_000_000
    let began = ContinuousClock.now
    var report = ProgressReport(phase: "fetching \(id), in MB", step: 0, total: 0)
    do {
      return try waiting {
        try await snapshot(of: id, selection, report: $0)
      } progress: { (state: Hub.Progress) in
        (report.step, report.total) = (state.bytes / million, (state.total + million - 1) / million)
        if report.step > 0 { report.secondsPerStep = (ContinuousClock.now - began) / .seconds(1) / Double(report.step) }
        return progress(report)
      }
    } catch is CancellationError {
      throw Interrupted(phase: report.phase, step: report.step, state: environment.cache)
    }
  }
}
