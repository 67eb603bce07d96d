internal import Diffusion
internal import Foundation
internal import Images
internal import LoRA
internal import Torch
public import Training

/// Where latents of LoRAs without pictures are kept.
public struct SavedReferences: Codable, Sendable, Equatable {
  /// How they are drawn.
  public var sampling: SampledLatents.Options
  /// Kept here for other runs; beside the output, where those of the run go once that is written, when nil.
  public var folder: String?

  public init(sampling: SampledLatents.Options = .init(), folder: String? = nil) {
    self.sampling = sampling
    self.folder = folder
  }

  func validate() throws(SettingError) {
    try Demand.atLeast(1, sampling.count, "references", atMost: 65_536)
    try Demand.atLeast(1, sampling.steps, "reference-steps", atMost: 1000)
    try Demand.notNegative(sampling.guidance, "reference-guidance")
  }

  func folder(beside output: AdapterOutput) -> String { folder ?? "\(output.stem).references" }

  /// Called when the result is written.
  ///
  /// - Parameter files: the references of the run, be they its own or of one that was stopped. Others in the folder are not its.
  func finish(_ files: [String], beside output: AdapterOutput) throws {
    guard folder == nil, !files.isEmpty else { return }
    for file in files where Paths.exists(file) { try FileManager.default.removeItem(atPath: file) }
    let folder = folder(beside: output)
    if try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty {
      try FileManager.default.removeItem(atPath: folder)
    }
  }
}

extension ZipAdapters {
  /// Draws references, unless an earlier run has drawn them.
  struct ReferenceArtist {
    let base: LocalBase
    let model: DiffusionModel
    let size: PictureSize
    let sampling: SampledLatents.Options
    let folder: String
    let processes: ProcessGroup
    let progress: ProgressHandler
    /// Where what it has drawn or found is kept.
    private(set) var files: [String] = []

    init(
      base: LocalBase, model: DiffusionModel, size: PictureSize, sampling: SampledLatents.Options, folder: String,
      processes: ProcessGroup, progress: @escaping ProgressHandler
    ) {
      (self.base, self.model, self.size, self.sampling) = (base, model, size, sampling)
      (self.folder, self.processes, self.progress) = (folder, processes, progress)
    }

    /// - Parameters:
    ///   - identity: of the adapter.
    ///   - name: of who draws, for the progress.
    mutating func draw(_ adapter: Adapter, prompts: [String], identity: [String], with name: String) throws -> SampledLatents {
      let identity = try FileDigest.ofTexts(base.identity + identity + ["\(size) \(sampling)"])
      let path = "\(folder)/\(identity.prefix(16)).safetensors"
      files.append(path)
      func found() throws -> SampledLatents? {
        guard Paths.exists(path) else { return nil }
        return try SampledLatents(path: path, identity: identity, device: model.device)
      }
      if try processes.first(found() != nil), let found = try found() { return found }
      try Paths.makeFolder(folder)
      let unfinished = SampledLatents.Unfinished(folder: folder, identity: identity)
      let drawn = try SampledLatents(
        of: adapter, prompts: prompts, model: model, options: sampling, width: size.width, height: size.height,
        phase: "drawing references with \(name)", unfinished: unfinished, processes: processes, progress: progress)
      if processes.isFirst {
        try drawn.write(to: path, identity: identity)
        try unfinished.remove(pictures: drawn.prompts.count)
      }
      return drawn
    }
  }
}
