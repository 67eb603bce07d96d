internal import Foundation
internal import SafeTensors
public import Training

/// `ziplora experiment`: runs what a file describes, job by job, and reports what came of it.
///
/// A job whose record, inputs and outputs are still the same is not run again, so that a stopped experiment goes on, and a
/// changed file costs only what it changes.
public struct RunExperiment: Workflow {
  public static let name = "experiment"

  public struct Outcome: Sendable {
    public let results: ExperimentResults
    public let report: String
  }

  /// Where the description is.
  public var file: String
  /// A folder for everything.
  public var output: String

  public init(file: String, output: String) {
    self.file = file
    self.output = output
  }

  public func validate() throws {}

  public func run(progress: ProgressHandler) throws -> Outcome {
    let began = ContinuousClock.now
    let experiment = try Experiment(contentsOf: file)
    let jobs: [ExperimentJob]
    do {
      jobs = try ExperimentPlan(experiment, output: output).jobs
    } catch let error as SettingError {
      throw SettingError("\(file): \(error.description)")
    }
    try Paths.makeFolder(output)
    try run(jobs, progress: progress)
    let results = try ExperimentResults(experiment) { row, pair in
      try ExperimentScores(experiment, of: pair, in: ExperimentPlan.folder(row, of: pair, in: output))
    }
    let files = ["results.json", "results.md", "report.html"].map { "\(output)/\($0)" }
    try AtomicFile.write(JSON.text(results) + "\n", to: files[0], overwrite: true)
    try AtomicFile.write(results.markdown, to: files[1], overwrite: true)
    try AtomicFile.write(
      try ExperimentReport(experiment: experiment, results: results, output: output).html(), to: files[2], overwrite: true)
    try RunRecord(self, inputs: [file], outputs: files, began: began).write(to: "\(output)/run.json", overwrite: true)
    return Outcome(results: results, report: files[2])
  }

  private func run(_ jobs: [ExperimentJob], progress: ProgressHandler) throws {
    var times = JobTimes()
    var open: [ExperimentJob] = []
    for job in jobs {
      if let seconds = job.secondsIfDone() { times.add(seconds, of: job.kind) } else { open.append(job) }
    }
    for (index, job) in open.enumerated() {
      let done = jobs.count - open.count + index
      let secondsLeft = times.estimate(open[index...].map(\.kind))
      func tell(_ part: ProgressReport?) -> Bool {
        let inside = part.map { ", \($0.phase) \($0.step)/\($0.total)" } ?? ""
        return progress(
          ProgressReport(
            phase: "experiment", step: done, total: jobs.count,
            secondsPerStep: secondsLeft.map { $0 / Double(jobs.count - done) }, detail: job.title + inside,
            warnings: part?.warnings.map { "\(job.title): \($0)" } ?? []))
      }
      let began = ContinuousClock.now
      guard tell(nil) else { throw Interrupted(phase: "experiment", step: done, state: output) }
      try job.run { part in tell(part) }
      times.add((ContinuousClock.now - began) / .seconds(1), of: job.kind)
    }
    _ = progress(ProgressReport(phase: "experiment", step: jobs.count, total: jobs.count))
  }
}

/// How long jobs took, by kind.
private struct JobTimes {
  private var known: [String: [Double]] = [:]

  mutating func add(_ seconds: Double, of kind: String) { known[kind, default: []].append(seconds) }

  /// Nil as long as there is a kind of which nothing is known.
  func estimate(_ kinds: [String]) -> Double? {
    var seconds = 0.0
    for kind in kinds {
      guard let known = known[kind] else { return nil }
      seconds += known.reduce(0, +) / Double(known.count)
    }
    return seconds
  }
}
