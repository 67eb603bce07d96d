internal import Torch

extension Sampler {
  /// DDIM without fresh noise, which is Euler's method through other levels (arXiv 2010.02502, equation 12 with η = 0).
  public static let ddim = Sampler(
    name: "ddim", summary: "DDIM, deterministic (η = 0)", nameInA1111: "DDIM",
    source: "arXiv 2010.02502; diffusers: DDIMScheduler", order: 1,
    isAncestral: false, makePlan: { ddimPlan($0, $1) },
    method: { denoiser, sample, steps, _ in try eulerMethod(denoiser, sample, steps) })

  private static func ddimPlan(_ schedule: NoiseSchedule, _ steps: Int) -> SamplingPlan {
    let configuration = schedule.configuration
    let alphas = schedule.alphasCumprod.doubles()
    let final = configuration.setAlphaToOne ? 1 : alphas[0]
    func level(_ timestep: Int) -> NoiseLevel {
      let alpha = timestep < 0 ? final : alphas[min(timestep, alphas.count - 1)]
      return NoiseLevel(timestep: Double(timestep), sigma: ((1 - alpha) / alpha).squareRoot())
    }
    let stride = schedule.count / steps
    let timesteps = schedule.timesteps(configuration.timestepSpacing ?? .leading, steps)
      .map { Int($0.rounded(.toNearestOrEven)) }
    return SamplingPlan(
      steps: timesteps.map { SamplingStep(from: level($0), to: level($0 - stride)) }, initialScale: 1)
  }
}
