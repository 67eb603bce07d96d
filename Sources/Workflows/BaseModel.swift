public import Diffusion
internal import Foundation
internal import Hub
public import Torch
package import Training

/// Which base model is used, and how and where it computes.
public struct BaseModel: Codable, Sendable, Equatable {
  /// A folder in the layout of diffusers, a model in one safetensors file, or the id of a model on the Hugging Face hub.
  public var source: String
  /// What replaces parts of it. Folders may be given as ids, too.
  public var choices: Checkpoint.Choices
  /// In which the networks compute. LoRAs and coefficients are trained in float32 whatever this is.
  public var dtype: DType
  public var device: Device
  /// Threads of one operation; libtorch's choice when nil.
  public var threads: Int?

  public init(
    _ source: String, choices: Checkpoint.Choices = .init(), dtype: DType = .float32, device: Device = .cpu,
    threads: Int? = nil
  ) {
    self.source = source
    self.choices = choices
    self.dtype = dtype
    self.device = device
    self.threads = threads
  }

  package func validate() throws(SettingError) {
    guard !source.isEmpty else {
      throw SettingError("--base: found nothing; expected a folder, a safetensors file or an id of the Hugging Face hub")
    }
    if let parts = choices.textParts { try Demand.atLeast(1, parts, "text-parts", atMost: 100) }
    if let threads { try Demand.atLeast(1, threads, "threads", atMost: 1024) }
    try Demand.available(device)
  }

  /// Finds the model on this disk, and fetches what is missing of a model of the hub.
  ///
  /// - Throws: `HubError`, `CheckpointError`, errors of files; `Interrupted` when the handler answers false.
  package func locate(progress: ProgressHandler) throws -> LocalBase {
    let hub = Hub()
    var choices = choices
    choices.vae = try choices.vae.map { try hub.local($0, .autoencoder(variant: nil), progress) }
    choices.tokenizer = try choices.tokenizer.map { try hub.local($0, .tokenizers, progress) }
    choices.configuration = try choices.configuration.map { try hub.local($0, .configurations, progress) }
    if !Paths.exists(source), HubID(source) != nil {
      do {
        // A few kilobytes tell what gigabytes would be fetched in vain for.
        try Checkpoint.check(configurations: hub.local(source, .configurations, progress))
      } catch is HubError {
        // What cannot be had is told below, with everything else that cannot.
      }
    }
    let path = try hub.local(source, .pipeline(variant: choices.variant), progress)
    var checkpoint = try Checkpoint(path: path, choices)
    if let id = checkpoint.repositoryOfTokenizers.flatMap(HubID.init) {
      checkpoint = checkpoint.with(tokenizer: try waiting { (_: (Never) -> Void) in await hub.cached(id, .tokenizers) })
    }
    return LocalBase(checkpoint: checkpoint, settings: self)
  }
}

/// A base model on this disk.
package struct LocalBase {
  package let checkpoint: Checkpoint
  let settings: BaseModel

  package func load(for processes: ProcessGroup = ProcessGroup()) throws -> DiffusionModel {
    if let threads = settings.threads { Engine.threads = threads }
    return try DiffusionModel(checkpoint, dtype: settings.dtype, device: processes.device(for: settings.device))
  }

  /// The files that it is made of.
  package var files: [String] { checkpoint.files }

  /// Names, sizes and samples of its files: what tells it from another without reading gigabytes.
  var weights: [String] {
    get throws {
      let root = checkpoint.path
      return try files.map { path in
        let name = path.hasPrefix("\(root)/") ? String(path.dropFirst(root.count)) : Paths.name(path)
        let sample = try FileDigest.sample(of: path)
        let size = try FileManager.default.attributesOfItem(atPath: path.resolvingSymlinks)[.size] as? Int ?? 0
        return "\(name) \(size) \(sample)"
      }
    }
  }

  /// What tells results with this base from those with another: its weights, the type, and what its U-Net is said to predict and to read.
  var identity: [String] {
    get throws {
      let choices = checkpoint.choices
      return try weights + ["\(settings.dtype)"]
        + [
          choices.predictionType?.rawValue, choices.timestepSpacing?.rawValue,
          try checkpoint.unusualClipSkip().map { "clip skip \($0)" },
          choices.textParts.flatMap { $0 == 1 ? nil : "text parts \($0)" },
        ].compactMap { $0 }
    }
  }
}

extension String {
  fileprivate var resolvingSymlinks: String { URL(filePath: self).resolvingSymlinksInPath().path }
}
