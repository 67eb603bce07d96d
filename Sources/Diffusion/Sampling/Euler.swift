internal import Torch

extension Sampler {
  /// Euler's method in σ (arXiv 2206.00364, algorithm 1 without its second-order correction).
  public static let euler = Sampler(
    name: "euler", summary: "Euler's method; the default of Stable Diffusion XL", nameInA1111: "Euler",
    source: "arXiv 2206.00364; diffusers: EulerDiscreteScheduler", order: 1, isAncestral: false,
    makePlan: { schedule, steps in
      eulerPlan(schedule, steps, karras: schedule.configuration.useKarrasSigmas)
    },
    method: { denoiser, sample, steps, _ in try eulerMethod(denoiser, sample, steps) })

  /// dx/dσ = (x − D) / σ, a straight line from one level to the next: keep the noise, take less of it.
  static func eulerMethod(_ denoiser: any Denoiser, _ sample: Tensor, _ steps: [SamplingStep]) throws -> Tensor {
    var x = sample
    for step in steps {
      let clean = try denoiser(x, at: step.from)
      x = step.to.signal * clean + step.to.spread * step.from.noise(in: x, clean: clean)
    }
    return x
  }

  static func eulerPlan(_ schedule: NoiseSchedule, _ steps: Int, karras: Bool) -> SamplingPlan {
    let spacing = schedule.configuration.timestepSpacing ?? .linspace
    let table = schedule.sigmas
    var timesteps = schedule.timesteps(spacing, steps).map(\.single)
    var sigmas = timesteps.map { interpolated(table, at: $0) }
    if karras {
      sigmas = karrasSigmas(from: sigmas[0], to: sigmas[sigmas.count - 1], steps)
      timesteps = sigmas.map { timestep(of: $0, in: table).single }
    }
    let levels = zip(timesteps, sigmas).map { NoiseLevel(timestep: $0, sigma: $1.single) }
    // Leading timesteps start below the noisiest one; diffusers then starts from noise of variance 1 + σ², in this scale 1.
    return SamplingPlan(levels: levels, initialScale: spacing == .leading ? 1 : levels[0].spread)
  }
}
