public import Diffusion
internal import Foundation
public import LoRA
internal import OrderedCollections
internal import SafeTensors
public import Torch

/// A LoRA's own way from noise to pictures, which stands in for training pictures that nobody has any more.
///
/// What the network saw at each step of the sampler is kept and not only where it ended: latents with the noise of their
/// own level, on which the LoRA acts when it is used. Made once, from the LoRA's prompts.
public struct SampledLatents: ReferenceLatents {
  public struct Options: Sendable, Codable, Equatable {
    /// Pictures of each prompt.
    public var count: Int
    /// Steps of the sampler, each of which gives a reference.
    public var steps: Int
    public var guidance: Double
    /// Of the first picture; the next one has the next seed.
    public var seed: UInt64

    public init(count: Int = 4, steps: Int = 20, guidance: Double = 5, seed: UInt64 = 0) {
      self.count = count
      self.steps = steps
      self.guidance = guidance
      self.seed = seed
    }
  }

  public let prompts: [String]
  /// [pictures, steps, C, h, w], in the model's type.
  let latents: Tensor
  /// int64 [steps].
  let timesteps: Tensor
  private let size: SizeConditioning

  /// Draws by DDIM, whose states are noisy latents at timesteps of the training.
  ///
  /// - Parameters:
  ///   - unfinished: where each picture is kept until all are drawn, and found by a run that goes on; nil for nowhere.
  ///   - processes: those that share the pictures out; each gets all of them.
  /// - Throws: `AttachmentError`, `TextToImageError`, `SamplingError`, `ProcessGroupError`; `Interrupted` when the handler
  ///   answers false.
  public init(
    of adapter: Adapter, prompts: [String], model: DiffusionModel, options: Options = .init(), width: Int? = nil,
    height: Int? = nil, phase: String = "drawing references", unfinished: Unfinished? = nil,
    processes: ProcessGroup = ProcessGroup(), progress: ProgressHandler = { _ in true }
  ) throws {
    let size = try model.pictureSize(width: width, height: height)
    let all = prompts.flatMap { Array(repeating: $0, count: options.count) }
    let plan = try Sampler.ddim.plan(model.schedule, steps: options.steps)
    var timer = StepTimer()
    let turns = processes.turns(of: all.count)
    let shape = [
      all.count, plan.steps.count, model.unet.configuration.inChannels, size.height / model.vae.scale,
      size.width / model.vae.scale,
    ]
    let drawn = Tensor.zeros(shape, dtype: model.dtype, device: model.device)
    try Attachment(adapter, to: model.projections).whileAttached {
      for (done, picture) in turns.enumerated() {
        if let way = try unfinished?.way(of: picture, shape: Array(shape.dropFirst())) {
          drawn[picture].copyInPlace(way)
          continue
        }
        let request = TextToImage(
          prompts: [all[picture]], sampler: .ddim, steps: options.steps, guidance: options.guidance, width: size.width,
          height: size.height, seed: options.seed &+ UInt64(picture))
        var way: [Tensor] = []
        try withoutActuallyEscaping(progress) { progress in
          _ = try request.latents(with: model) { state in
            guard state.step < state.total else { return }
            way.append(state.sample[0])
            if state.step > 0 { timer.tick() }
            let report = ProgressReport(
              phase: phase, step: done * options.steps + state.step + 1, total: turns.count * options.steps,
              secondsPerStep: timer.secondsPerStep)
            try report.send(to: progress, state: unfinished?.folder)
          }
        }
        let whole = Tensor.stacked(way)
        try unfinished?.keep(whole, of: picture)
        drawn[picture].copyInPlace(whole)
      }
    }
    // Zeros stand where others have drawn.
    try processes.sum([drawn])
    latents = drawn
    self.prompts = all
    timesteps = Tensor(plan.steps.map { Int($0.from.timestep) }).to(device: model.device)
    self.size = SizeConditioning(height: size.height, width: size.width)
  }

  public var sizes: [SizeConditioning] { prompts.map { _ in size } }

  /// As they were drawn; the generator has nothing to say.
  public func noisy(
    _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    let steps = levels.map { Int($0 * Double(timesteps.count)) }
    return (
      Tensor.stacked(zip(indices, steps).map { latents[$0][$1] }),
      Tensor.stacked(steps.map { timesteps[$0] })
    )
  }
}

// MARK: - Keeping them

extension SampledLatents {
  private static let format = "ziplora-references"

  /// Files of single pictures, which are worth nothing once all are drawn.
  public struct Unfinished {
    let folder: String
    private let identity: String

    /// - Parameter identity: as for `write`.
    public init(folder: String, identity: String) { (self.folder, self.identity) = (folder, identity) }

    private func path(_ picture: Int) -> String { "\(folder)/\(identity.prefix(16))-\(picture + 1).safetensors" }

    /// What the network saw of a picture; nil for one that is still to be drawn.
    fileprivate func way(of picture: Int, shape: [Int]) throws -> Tensor? {
      let path = path(picture)
      guard FileManager.default.fileExists(atPath: path) else { return nil }
      let file = try SafeTensorsCollection(path: path)
      guard file.file.metadata["identity"] == identity, file.shape(of: "latents") == shape else { return nil }
      return try file.tensor("latents")
    }

    fileprivate func keep(_ way: Tensor, of picture: Int) throws {
      try saveSafeTensors(
        ["latents": way], metadata: ["format": format, "identity": identity], to: path(picture), overwrite: true)
    }

    /// Takes the files away.
    public func remove(pictures: Int) throws {
      for path in (0..<pictures).map(path) where FileManager.default.fileExists(atPath: path) {
        try FileManager.default.removeItem(atPath: path)
      }
    }
  }

  /// - Parameter identity: of everything they depend on: base, LoRA, prompts, options.
  /// - Throws: `AtomicFileError`.
  public func write(to path: String, identity: String) throws {
    let metadata: OrderedDictionary = [
      "format": Self.format, "identity": identity, "prompts": try JSONText.compact(prompts),
      "size": "\(size.targetWidth)x\(size.targetHeight)",
    ]
    try saveSafeTensors(["latents": latents, "timesteps": timesteps], metadata: metadata, to: path, overwrite: true)
  }

  /// Reads what `write` has written; nil for a file of other references.
  ///
  /// - Throws: `SafeTensorsError`.
  public init?(path: String, identity: String, device: Device) throws {
    let collection = try SafeTensorsCollection(path: path)
    let metadata = collection.file.metadata
    guard metadata["format"] == Self.format, metadata["identity"] == identity,
      let prompts = metadata["prompts"].flatMap({ try? JSONDecoder().decode([String].self, from: Data($0.utf8)) }),
      let size = metadata["size"]?.split(separator: "x").compactMap({ Int($0) }), size.count == 2
    else { return nil }
    self.prompts = prompts
    latents = try collection.tensor("latents").to(device: device)
    timesteps = try collection.tensor("timesteps").to(device: device)
    self.size = SizeConditioning(height: size[1], width: size[0])
  }
}
