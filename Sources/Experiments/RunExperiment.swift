internal import Diffusion
internal import Foundation
internal import LoRA
internal import Merging
internal import SafeTensors
internal import Toybox
public import Torch
public import Training
public import Workflows

/// `ziplora experiment`: runs what a file describes, job by job, and reports what came of it.
///
/// A job whose record, inputs and outputs are still the same is not run again, so that a stopped experiment goes on, and a
/// changed file costs only what it changes. Several processes share the jobs: each takes the next one whose inputs are there.
public struct RunExperiment: DistributedWorkflow {
  public static let name = "experiment"
  public static let sharesSteps = false

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
    // Records of jobs are compared by their paths.
    self.output = Paths.tidied(output)
  }

  public func validate() throws {}

  public func perform(progress: ProgressHandler, processes: ProcessGroup) throws -> Outcome {
    let began = ContinuousClock.now
    let experiment = try Experiment(contentsOf: file)
    let input = try FileDigest(of: file)
    let jobs: [ExperimentJob]
    do {
      jobs = try ExperimentPlan(experiment, output: output).jobs
      try checkBase(of: experiment, progress: progress)
      try checkJudges(of: experiment, progress: progress)
    } catch let error as SettingError {
      throw SettingError("\(file): \(error.description)")
    }
    try Paths.makeFolder(output)
    try checkFolder(files: outputs)
    let lock = try processes.isFirst ? lock() : nil
    defer { lock?.release() }
    try MemoryBudget.$sharers.withValue(processes.size) { try run(jobs, progress: progress, processes: processes) }
    let results = try ExperimentResults(experiment) { row, pair in
      try ExperimentScores(experiment, of: pair, in: ExperimentPlan.folder(row, of: pair, in: output))
    }
    let files = outputs
    let outcome = Outcome(results: results, report: files[2])
    guard processes.isFirst else { return outcome }
    try AtomicFile.write(JSONText.pretty(results) + "\n", to: files[0], overwrite: true)
    try AtomicFile.write(results.markdown, to: files[1], overwrite: true)
    try ExperimentReport(experiment: experiment, results: results, output: output).write(page: files[2], grid: files[3])
    try RunRecord(self, inputs: [input], outputs: files, began: began, processes: processes)
      .write(to: "\(output)/run.json", overwrite: true)
    return outcome
  }

  /// Another one's pictures among its own would be judged as its own.
  private func lock() throws(SettingError) -> FileLock {
    let remedy = "let it finish or stop it, or choose another folder with --output"
    return try FileLock("\(output)/.lock", refusal: "\(output): another experiment is at work in this folder; \(remedy)")
  }

  private var outputs: [String] { ["results.json", "results.md", "report.html", "grid.png"].map { "\(output)/\($0)" } }

  /// What results of every version have.
  private struct Results: Decodable {
    let pairs: [String]
    let reference: String
  }

  /// What run records of all commands have.
  private struct Record: Decodable {
    let workflow: String
  }

  /// A report is replaced where it is an experiment's: the first file of one says so.
  private func checkFolder(files: [String]) throws {
    let record = FileManager.default.contents(atPath: "\(output)/run.json")
    if let other = record.flatMap({ try? JSONDecoder().decode(Record.self, from: $0) })?.workflow, other != Self.name {
      throw SettingError(
        "\(output)/run.json: is the record of ziplora \(other), which would be lost; choose another folder with --output")
    }
    guard let file = files.first(where: Paths.exists) else { return }
    let results = FileManager.default.contents(atPath: files[0])
    guard results.flatMap({ try? JSONDecoder().decode(Results.self, from: $0) }) != nil else {
      throw SettingError("\(file): is there and of no experiment, which would replace it; choose another folder with --output")
    }
  }

  /// What only the base, or LoRAs that are still to be trained, would refuse.
  private func checkBase(of experiment: Experiment, progress: ProgressHandler) throws {
    let checkpoint = try experiment.base.locate(progress: progress).checkpoint
    let sampling = experiment.sampling
    do {
      _ = try sampling.sampler.plan(checkpoint.schedule(), steps: sampling.steps)
    } catch let error as SamplingError {
      throw SettingError("sampling: \(error)")
    }
    let layers = try Experiment.Training().options.targets.paths(in: checkpoint.moduleNames)
    let ranks = (experiment.subjectTraining.rank, experiment.styleTraining.rank)
    for row in experiment.rows {
      switch row.way {
      case .zip(let zip) where !layers.contains(where: zip.options.scope.contains):
        throw SettingError(
          "\(row.title): zip.scope: found \(zip.options.scope); LoRAs have layers such as \(layers[0]), and none in it")
      case .replaced(_, let parts, _):
        for part in parts where !layers.contains(where: { ModuleNames.lies($0, under: part) }) {
          throw SettingError("\(row.title): replace: found \(part); LoRAs have layers such as \(layers[0]), and none under it")
        }
      case .merge(let method, _) where method == LinearMerge().name && ranks.0 != ranks.1:
        throw SettingError("\(row.title): merge: \(method); found LoRAs of rank \(ranks.0) and \(ranks.1), expected one rank")
      default: break
      }
    }
  }

  /// Who judges comes last, and must be there before the first job has begun.
  private func checkJudges(of experiment: Experiment, progress: ProgressHandler) throws {
    if let pair = try experiment.allPairs.first {
      try experiment.evaluation(.styled, of: pair, pictures: output, json: output)?.checkModels(progress: progress)
    }
    let weights = Oracle.weights(base: experiment.base.source)
    guard !experiment.asksOracle || Paths.exists(weights) else {
      throw SettingError(
        "the base \(experiment.base.source) has no oracle: found no \(weights); judge with encoders, or train it with ziplora toybox train"
      )
    }
  }

  private func run(_ jobs: [ExperimentJob], progress: ProgressHandler, processes: ProcessGroup) throws {
    let found = processes.isFirst ? jobs.map { $0.secondsIfDone() } : []
    let shared = try SharedJobs(jobs, done: found.indices.filter { found[$0] != nil }, processes: processes)
    var times = JobTimes()
    for (job, seconds) in zip(jobs, found) { if let seconds { times.add(seconds, of: job.kind) } }
    var secondsPerJob: Double?

    func tell(_ doing: String, _ part: ProgressReport? = nil) throws {
      let inside = part.map { ", \($0.phase) \($0.step)/\($0.total)" } ?? ""
      let report = ProgressReport(
        phase: "experiment", step: shared.done.count, total: jobs.count, secondsPerStep: secondsPerJob,
        detail: doing + inside, warnings: part?.warnings.map { "\(doing): \($0)" } ?? [])
      func interrupted(_ phase: String) -> Interrupted { Interrupted(phase: phase, step: report.step, state: output) }
      guard progress(report) else { throw interrupted(report.phase) }
      if let other = try shared.whoStopped() { throw interrupted("sharing the experiment with \(other)") }
    }
    var current: Int?
    do {
      while !shared.left.isEmpty {
        let left = shared.left.map { jobs[$0].kind }
        secondsPerJob = times.estimate(left).map { $0 / Double(left.count * processes.size) }
        current = try shared.next()
        guard let index = current else {
          try tell("waiting for other processes")
          Thread.sleep(forTimeInterval: 0.1)
          try shared.update()
          continue
        }
        let job = jobs[index]
        let began = ContinuousClock.now
        try tell(job.title)
        if job.secondsIfDone() == nil {
          try naming(job) { try job.run { part in (try? tell(job.title, part)) != nil } }
          times.add((ContinuousClock.now - began) / .seconds(1), of: job.kind)
        }
        try shared.finish(index)
        try shared.update()
      }
    } catch {
      shared.stop(during: current)
      throw error
    }
    _ = progress(ProgressReport(phase: "experiment", step: jobs.count, total: jobs.count))
  }
}

/// Runs a job and says with an error which one it was; what the command explains itself is left to it.
private func naming(_ job: ExperimentJob, _ body: () throws -> Void) throws {
  do {
    try body()
  } catch let error where !(error is Interrupted || error is TorchError || error is AtomicFileError) {
    throw JobError(title: job.title, cause: error)
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
