internal import Diffusion
public import Merging
internal import Torch

extension DiffusionProbe {
  /// How much memory a zip takes, and what is computed again so that it fits.
  ///
  /// - Parameter budget: bytes that the process may hold.
  /// - Throws: what passes of the model throw.
  public func memoryPlan(of zipper: ZipLoRA, budget: Int) throws -> MemoryPlan {
    let input = try draw(0, generator: Generator(seed: 0))
    let latents = (height: input.noisy.dim(2), width: input.noisy.dim(3))
    return try MemoryPlan(
      model.unet, projections: projections, latents: latents, budget: budget,
      kept: { height, width in
        let small = input.cropped(height, width)
        return try zipper.bytesOfInputs(growth: Double(input.noisy.count) / Double(small.noisy.count)) {
          _ = try prediction(of: small)
        }
      }, discard: zipper.discardGradients
    ) { height, width in
      try zipper.whileMerged { try prediction(of: input.cropped(height, width)).square().mean() }
    }
  }
}
