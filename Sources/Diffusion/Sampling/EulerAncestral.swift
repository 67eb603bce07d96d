internal import Torch

extension Sampler {
  /// Euler's method that goes below each level and comes back up with fresh noise.
  public static let eulerAncestral = Sampler(
    name: "euler-ancestral", summary: "Euler's method with fresh noise in every step", nameInA1111: "Euler a",
    source: "k-diffusion: sample_euler_ancestral; diffusers: EulerAncestralDiscreteScheduler", order: 1,
    isAncestral: true, makePlan: { eulerPlan($0, $1, karras: false) }, method: eulerAncestralMethod)

  /// σ_up² + σ_down² = σ_to², with σ_up so large that the steps together follow the reverse diffusion.
  private static func eulerAncestralMethod(
    _ denoiser: any Denoiser, _ sample: Tensor, _ steps: [SamplingStep], _ noise: NoiseSource
  ) throws -> Tensor {
    var x = sample
    for step in steps {
      let clean = try denoiser(x, at: step.from)
      let ratio = step.to.sigma / step.from.sigma
      let up = step.to.sigma * (1 - ratio * ratio).squareRoot()
      let down = step.to.sigma * ratio
      let moved = clean + down * step.from.noise(in: x, clean: clean) + up * noise(like: x)
      x = step.to.signal * moved
    }
    return x
  }
}
