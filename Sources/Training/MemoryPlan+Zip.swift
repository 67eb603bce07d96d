public import Diffusion
public import LoRA
public import Merging
public import Torch

extension MemoryPlan {
  /// - Parameters:
  ///   - latents: height and width of the pictures that `zipper` looks at.
  ///   - budget: bytes that the process may hold.
  ///   - progress: hears of each pass of the model.
  ///   - prediction: what the model predicts of latents of another height and width.
  /// - Throws: what `prediction` throws, and `TorchError`; `Interrupted` when the handler answers false.
  public init(
    of zipper: ZipLoRA, _ unet: UNet2DConditionModel, projections: Projections, latents: (height: Int, width: Int),
    budget: Int, progress: ProgressHandler = { _ in true }, prediction: (_ height: Int, _ width: Int) throws -> Tensor
  ) throws {
    try self.init(
      unet, projections: projections, latents: latents, budget: budget, progress: progress,
      kept: { height, width in
        let growth = Double(latents.height * latents.width) / Double(height * width)
        return try zipper.bytesOfInputs(growth: growth) { _ = try prediction(height, width) }
      }, discard: zipper.discardGradients
    ) { height, width in
      try zipper.whileMerged { try prediction(height, width).square().mean() }
    }
  }
}

extension DiffusionProbe {
  /// How much memory a zip takes, and what is computed again so that it fits.
  ///
  /// - Parameters:
  ///   - budget: bytes that the process may hold.
  ///   - progress: hears of each pass of the model.
  /// - Throws: what passes of the model throw; `Interrupted` when the handler answers false.
  public func memoryPlan(
    of zipper: ZipLoRA, budget: Int, progress: ProgressHandler = { _ in true }
  ) throws -> MemoryPlan {
    let input = try draw(of: .lora(0), generator: Generator(seed: 0))
    return try MemoryPlan(
      of: zipper, model.unet, projections: projections, latents: (input.noisy.dim(2), input.noisy.dim(3)), budget: budget,
      progress: progress
    ) { try prediction(of: input.cropped(height: $0, width: $1)) }
  }
}
