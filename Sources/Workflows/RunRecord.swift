internal import Foundation
internal import SafeTensors
internal import Torch

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

  /// - Parameter began: when the run did.
  init(
    _ settings: Settings, inputs: [String], outputs: [String], began: ContinuousClock.Instant,
    processes: ProcessGroup = ProcessGroup()
  ) throws {
    try self.init(
      settings, inputs: try inputs.map(FileDigest.init), outputs: outputs, began: began, processes: processes)
  }

  /// Of inputs whose digests are known already.
  init(
    _ settings: Settings, inputs: [FileDigest], outputs: [String], began: ContinuousClock.Instant,
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
  }

  /// Takes away what the run of a record made and no new run makes again, as long as it is unchanged: left there, it would pass
  /// for the new run's. Both lie beside the record, however their paths were written.
  ///
  /// - Parameters:
  ///   - path: of the record; nothing happens where there is none that can be read.
  ///   - kept: what the new run makes.
  static func removeOutputs(recordedIn path: String, except kept: [String]) throws {
    guard let bytes = FileManager.default.contents(atPath: path),
      let former = try? JSONDecoder().decode(RunRecord.self, from: bytes)
    else { return }
    let folder = URL(filePath: path).deletingLastPathComponent()
    let names = Set(kept.map(Paths.name))
    for output in former.outputs {
      let name = Paths.name(output.path)
      let file = folder.appending(path: name).path
      guard !names.contains(name), Paths.exists(file), try FileDigest(of: file).sha256 == output.sha256 else { continue }
      try FileManager.default.removeItem(atPath: file)
    }
  }

  func write(to path: String, overwrite: Bool) throws {
    try AtomicFile.write(JSON.text(self) + "\n", to: path, overwrite: overwrite)
  }
}

/// How this package writes JSON: readable, and the same for the same values.
enum JSON {
  static func text(_ value: some Encodable, pretty: Bool = true) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting =
      pretty ? [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes] : [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}
