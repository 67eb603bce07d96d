internal import Foundation
internal import Training

/// A workflow of an experiment. It is done when its record says so: with these settings, from files that are still the
/// same, to files that are still there.
struct ExperimentJob {
  let title: String
  /// What jobs of a kind take tells how long the others will.
  let kind: String
  /// Seconds that it took; nil while it has to be done.
  let secondsIfDone: () -> Double?
  let run: (ProgressHandler) throws -> Void

  init<Work: Workflow>(_ title: String, _ work: Work, record: String, files: FileDigests) {
    self.title = title
    kind = Work.name
    secondsIfDone = {
      guard let bytes = FileManager.default.contents(atPath: record),
        let found = try? JSONDecoder().decode(RunRecord<Work>.self, from: bytes),
        let (before, now) = try? (JSON.text(found.settings), JSON.text(work)), before == now,
        (found.inputs + found.outputs).allSatisfy({ files.digest(of: $0.path) == $0 })
      else { return nil }
      return found.seconds
    }
    run = { progress in
      try Paths.makeFolder(URL(filePath: record).deletingLastPathComponent().path)
      _ = try work.run(progress: progress)
    }
  }
}

/// Digests of files that many jobs have in common, taken once for each state of a file.
final class FileDigests {
  private struct State: Hashable {
    let path: String
    let bytes: Int
    let changed: Date
  }

  private var known: [State: FileDigest] = [:]

  /// Nil where there is no such file.
  func digest(of path: String) -> FileDigest? {
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
      let bytes = attributes[.size] as? Int, let changed = attributes[.modificationDate] as? Date
    else { return nil }
    let state = State(path: path, bytes: bytes, changed: changed)
    if let digest = known[state] { return digest }
    let digest = try? FileDigest(of: path)
    known[state] = digest
    return digest
  }
}
