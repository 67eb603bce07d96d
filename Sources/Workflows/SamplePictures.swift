internal import Diffusion
internal import Foundation
internal import Images
internal import Torch
internal import Training

/// Pictures that show how a training goes on, in the folder `STEM-samples` beside the output.
public struct SamplePictures: Codable, Sendable, Equatable {
  public var prompts: [String]
  /// Steps of training between them; a tenth of all when nil.
  public var every: Int?

  public init(prompts: [String] = [], every: Int? = nil) {
    self.prompts = prompts
    self.every = every
  }

  func validate() throws(SettingError) {
    guard let every else { return }
    try Demand.atLeast(1, every, "sample-every")
    guard !prompts.isEmpty else { throw SettingError("--sample-every needs --sample-prompt to say what to draw") }
  }

  private func folder(beside output: AdapterOutput) -> String { "\(output.stem)-samples" }

  /// After which steps of a training they are due.
  private func steps(of total: Int) -> [Int] {
    let every = interval(total)
    return Array(stride(from: every, to: total, by: every)) + [total]
  }

  private func interval(_ total: Int) -> Int { every ?? max(1, total / 10) }

  private func files(_ step: Int, in folder: String) -> [String] {
    prompts.indices.map { "\(folder)/\(String(format: "step%05d-%d.png", step, $0 + 1))" }
  }

  /// Refuses before the work what would be refused in the middle of it.
  ///
  /// - Parameter overwrite: whether pictures that are there may be replaced.
  func check(beside output: AdapterOutput, steps total: Int, overwrite: Bool) throws {
    let folder = folder(beside: output)
    guard !prompts.isEmpty, Paths.exists(folder) else { return }
    guard Paths.isFolder(folder) else {
      throw SettingError("\(folder): found a file, expected the folder for sample pictures; move it or choose another --output")
    }
    let files = steps(of: total).flatMap { self.files($0, in: folder) }
    try Paths.checkWritable(files.filter(Paths.exists) + files.prefix(1), overwrite: overwrite)
  }

  /// Draws what is due, always with the same seed, with the LoRA as it is on the model.
  ///
  /// - Throws: `Interrupted` when the handler answers false.
  func draw(
    after step: Int, of total: Int, beside output: AdapterOutput, overwrite: Bool, model: DiffusionModel, seed: UInt64,
    size: PictureSize, progress: ProgressHandler
  ) throws {
    guard !prompts.isEmpty, step % interval(total) == 0 || step == total else { return }
    let folder = folder(beside: output)
    try Paths.makeFolder(folder)
    let files = files(step, in: folder)
    let requests = prompts.map {
      TextToImage(
        prompts: [$0], sampler: drawingSampler, steps: drawingSteps, width: size.width, height: size.height, seed: seed)
    }
    try drawPictures(requests, with: model, phase: "drawing sample pictures", state: nil, progress: progress) {
      try Image($1[0]).write(to: files[$0], text: [("prompt", prompts[$0])], overwrite: overwrite)
    }
  }
}
