internal import Foundation
internal import Images
internal import Merging
internal import SafeTensors
internal import Training
internal import Workflows

/// A workflow of an experiment. It is done when its record says so: with these settings, from all the files that it would read
/// and as they still are, to files that are still there.
struct ExperimentJob {
  /// Pictures that an earlier job makes.
  struct Folder {
    let path: String
    /// How many of them are read, the first ones; nil for all.
    var count: Int?

    fileprivate var files: [String] {
      let names = (try? ImageFolder.pictureNames(in: path)) ?? []
      return names.prefix(count ?? names.count).map { "\(path)/\($0)" }
    }
  }

  let title: String
  /// What jobs of a kind take tells how long the others will.
  let kind: String
  /// The jobs before this one that make what it reads, by their places in the plan.
  let needs: [Int]
  /// Seconds that it took; nil while it has to be done.
  let secondsIfDone: () -> Double?
  let run: (ProgressHandler) throws -> Void

  /// - Parameters:
  ///   - reads: files that it will read, among others.
  ///   - pictures: folders that it will read, of which a record may know less than there is by now.
  ///   - folder: that belongs to it alone. What an interrupted run has left there would pass for its own.
  init<Work: Workflow>(
    _ title: String, _ work: Work, needs: [Int], record: String, reads: [String], pictures: [Folder],
    clearing folder: String?, files: FileDigests
  ) {
    self.title = title
    self.needs = needs
    kind = Work.name
    secondsIfDone = {
      guard let bytes = FileManager.default.contents(atPath: record),
        let found = try? JSONDecoder().decode(RunRecord<Work>.self, from: bytes), found.isPartial != true,
        let (before, now) = try? (JSONText.pretty(found.settings), JSONText.pretty(work)), before == now,
        Set(reads + pictures.flatMap(\.files)).isSubset(of: found.inputs.map(\.path)),
        (found.inputs + found.outputs).allSatisfy({ files.digest(of: $0.path) == $0 })
      else { return nil }
      return found.seconds
    }
    run = { progress in
      if let folder, Paths.exists(folder) { try FileManager.default.removeItem(atPath: folder) }
      try Paths.makeFolder(URL(filePath: record).deletingLastPathComponent().path)
      do {
        _ = try work.run(progress: progress)
      } catch let error {
        // Saved by a run that was stopped before the experiment's file was changed.
        guard let refusal = error as? StateError, refusal.remedy != .anotherFile else { throw error }
        try FileManager.default.removeItem(atPath: refusal.path)
        _ = try work.run(progress: progress)
      }
    }
  }
}

/// Which jobs of a plan make what a later one reads. Settings are full of paths, and they tell it.
struct JobProducts {
  /// The folder that all products are in.
  let folder: String
  private var makers: [String: [Int]] = [:]
  /// Makers of something in a folder.
  private var makersInside: [String: [Int]] = [:]

  init(in folder: String) { self.folder = folder }

  /// - Parameter paths: files, or folders with all that is in them.
  mutating func add(_ paths: [String], of job: Int) {
    for path in paths {
      makers[path, default: []].append(job)
      for parent in parents(of: path) { makersInside[parent, default: []].append(job) }
    }
  }

  /// The jobs so far whose products, or folders of them, are named in the settings of this one.
  func makers(for work: some Workflow) throws -> [Int] {
    let settings = try JSONSerialization.jsonObject(with: Data(JSONText.pretty(work).utf8))
    let named = strings(in: settings).filter { $0.hasPrefix("\(folder)/") }
    return Set(named.flatMap { ([$0] + parents(of: $0)).flatMap { makers[$0] ?? [] } + (makersInside[$0] ?? []) }).sorted()
  }

  /// The folders that a path is in, up to that of all products.
  private func parents(of path: String) -> [String] {
    var parents: [String] = []
    var rest = path[...]
    while let slash = rest.lastIndex(of: "/"), slash > folder.endIndex {
      rest = rest[..<slash]
      parents.append(String(rest))
    }
    return parents
  }

  private func strings(in json: Any) -> [String] {
    switch json {
    case let text as String: [text]
    case let list as [Any]: list.flatMap(strings)
    case let members as [String: Any]: members.values.flatMap(strings)
    default: []
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
