internal import Foundation
internal import SafeTensors
package import Torch

/// What made a file: written as FILE.json beside it, so that every result can be made again.
public struct RunRecord<Settings: Workflow>: Codable {
  public struct Versions: Codable, Sendable, Equatable {
    public var ziplora = Version.current
    public var libtorch = Engine.version
  }

  public let workflow: String
  /// With every seed.
  public let settings: Settings
  public let inputs: [FileDigest]
  public let outputs: [FileDigest]
  public let versions: Versions
  /// Results are the same to the byte for the same number.
  public let threads: Int
  /// That shared the work; likewise. Nil for one.
  public let processes: Int?
  public let seconds: Double
  /// True of a run that was stopped: the outputs are what it had made by then, and what is left of a run before it. Nil of others.
  public let isPartial: Bool?

  /// - Parameters:
  ///   - inputs: as they were when they were read.
  ///   - began: when the run did.
  package init(
    _ settings: Settings, inputs: [FileDigest], outputs: [String], began: ContinuousClock.Instant, isPartial: Bool = false,
    processes: ProcessGroup = ProcessGroup()
  ) throws {
    seconds = (ContinuousClock.now - began) / .seconds(1)
    workflow = Settings.name
    self.settings = settings
    self.inputs = inputs
    self.outputs = try outputs.map(FileDigest.init)
    versions = Versions()
    threads = Engine.threads
    self.processes = processes.size > 1 ? processes.size : nil
    self.isPartial = isPartial ? true : nil
  }

  /// The record of a run with these settings that was stopped, and whose outputs are as it left them; nil where there is no such one.
  static func stopped(at path: String, as settings: Settings) -> RunRecord? {
    guard let bytes = FileManager.default.contents(atPath: path),
      let found = try? JSONDecoder().decode(RunRecord.self, from: bytes), found.isPartial == true,
      let (before, now) = try? (JSONText.pretty(found.settings), JSONText.pretty(settings)), before == now,
      found.outputs.allSatisfy({ (try? FileDigest(of: $0.path)) == $0 })
    else { return nil }
    return found
  }

  /// Takes away what the run of a record made and no new run makes again, as long as it is unchanged: left there, it would pass
  /// for the new run's. Both lie beside the record, however their paths were written.
  ///
  /// - Parameters:
  ///   - path: of the record; nothing happens where there is none that can be read.
  ///   - kept: what the new run makes.
  static func removeOutputs(recordedIn path: String, except kept: [String]) throws {
    for file in try outputs(recordedIn: path, except: kept) { try FileManager.default.removeItem(atPath: file) }
  }

  /// What a record names that is still there and unchanged, beside the record, but for files of the same names as these.
  static func outputs(recordedIn path: String, except kept: [String]) throws -> [String] {
    guard let bytes = FileManager.default.contents(atPath: path),
      let former = try? JSONDecoder().decode(RunRecord.self, from: bytes)
    else { return [] }
    let folder = String(path.dropLast(Paths.name(path).count))
    let names = Set(kept.map(Paths.name))
    return try former.outputs.compactMap { output in
      let name = Paths.name(output.path)
      let file = folder + name
      guard !names.contains(name), Paths.exists(file), try FileDigest(of: file).sha256 == output.sha256 else { return nil }
      return file
    }
  }

  package func write(to path: String, overwrite: Bool) throws {
    try AtomicFile.write(JSONText.pretty(self) + "\n", to: path, overwrite: overwrite)
  }
}
