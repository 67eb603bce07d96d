internal import Torch
internal import Workflows

/// The jobs of an experiment, which processes share: each takes the next one that nobody does and whose inputs are there.
final class SharedJobs {
  let jobs: [ExperimentJob]
  /// Places of those that are done, as far as this process knows.
  private(set) var done: Set<Int>
  private let processes: ProcessGroup
  private var claimed: Set<Int> = []
  private var listened = ContinuousClock.now

  private static let doneBoard = "done"
  private static let stoppedBoard = "stopped"

  /// - Parameter done: places of jobs, as the first process finds them; others find what it is just making.
  init(_ jobs: [ExperimentJob], done: [Int], processes: ProcessGroup) throws {
    (self.jobs, self.processes) = (jobs, processes)
    self.done = Set(try processes.first(done))
    // What is made of something that is made anew is looked at again then.
    for (index, job) in jobs.enumerated() where !job.needs.allSatisfy(self.done.contains) { self.done.remove(index) }
  }

  var left: [Int] { jobs.indices.filter { !done.contains($0) } }

  /// Hears what others have done.
  func update() throws { done.formUnion(try processes.lines(on: Self.doneBoard).compactMap(Int.init)) }

  /// Claims a job; nil while all that are left wait for others.
  func next() throws -> Int? {
    for index in left where !claimed.contains(index) && jobs[index].needs.allSatisfy(done.contains) {
      claimed.insert(index)
      if try processes.claim("job \(index)") { return index }
    }
    return nil
  }

  /// Tells all that a claimed job is done.
  func finish(_ index: Int) throws {
    done.insert(index)
    try processes.post("\(index)", on: Self.doneBoard)
  }

  /// Tells all that this process stops, in the middle of a job or between two; if they are gone, nobody has to know.
  func stop(during index: Int?) {
    let place = index.map { " while \(jobs[$0].title)" } ?? ""
    try? processes.post("process \(processes.rank), which stopped\(place)", on: Self.stoppedBoard)
  }

  /// Who has stopped, so that all do: not everything can be made any more. Asks once a second.
  func whoStopped() throws -> String? {
    guard processes.size > 1, ContinuousClock.now - listened > .seconds(1) else { return nil }
    listened = .now
    return try processes.lines(on: Self.stoppedBoard).first
  }
}
