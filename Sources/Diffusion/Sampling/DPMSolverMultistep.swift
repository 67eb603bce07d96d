internal import Foundation
internal import Torch

extension Sampler {
  /// DPM-Solver++(2M) with Karras spacing: `DPMSolverMultistepScheduler(use_karras_sigmas=True)` with its defaults
  /// (`algorithm_type` dpmsolver++, `solver_order` 2, `solver_type` midpoint, `final_sigmas_type` zero).
  public static let dpmSolverMultistep = dpmSolver(name: "dpm++2m", karras: true)

  /// - Parameter karras: whether levels are spaced evenly in σ^(1/7), or as the schedule's timesteps.
  public static func dpmSolver(name: String, karras: Bool) -> Sampler {
    Sampler(
      name: name, summary: "DPM-Solver++ of second order\(karras ? " with Karras spacing" : ""); good in 20 to 30 steps",
      nameInA1111: "DPM++ 2M\(karras ? ", Schedule type: Karras" : "")",
      source: "arXiv 2211.01095; diffusers: DPMSolverMultistepScheduler", order: 2, isAncestral: false,
      makePlan: { dpmSolverPlan($0, $1, karras: karras) },
      method: { denoiser, sample, steps, _ in try dpmSolverMethod(denoiser, sample, steps) })
  }

  /// arXiv 2211.01095, algorithm 2, in λ = −log σ. The first step has no former one to extrapolate from, and a step to σ = 0
  /// is infinitely long: these two are of first order.
  private static func dpmSolverMethod(
    _ denoiser: any Denoiser, _ sample: Tensor, _ steps: [SamplingStep]
  ) throws -> Tensor {
    var x = sample
    var former: (clean: Tensor, sigma: Double)?
    for (from, to) in steps.map({ ($0.from, $0.to) }) {
      let clean = try denoiser(x, at: from)
      var extrapolated = clean
      if let former, to.sigma > 0 {
        let r = log(former.sigma / from.sigma) / log(from.sigma / to.sigma)
        extrapolated = former.clean.lerp(clean, 1 + 1 / (2 * r))
      }
      x = to.spread / from.spread * x + to.signal * (1 - to.sigma / from.sigma) * extrapolated
      former = (clean, from.sigma)
    }
    return x
  }

  private static func dpmSolverPlan(_ schedule: NoiseSchedule, _ steps: Int, karras: Bool) -> SamplingPlan {
    let table = schedule.sigmas
    var timesteps: [Double]
    let sigmas: [Double]
    if karras {
      sigmas = karrasSigmas(from: table[table.count - 1], to: table[0], steps)
      timesteps = sigmas.map { timestep(of: $0, in: table).rounded(.toNearestOrEven) }
    } else {
      // One timestep more than needed, without the last: the end is σ = 0 anyway.
      let spacing = schedule.configuration.timestepSpacing ?? .linspace
      timesteps = schedule.timesteps(spacing, spacing == .trailing ? steps : steps + 1)
      if spacing != .trailing { timesteps.removeLast() }
      timesteps = timesteps.map { $0.rounded(.toNearestOrEven) }
      sigmas = timesteps.map { interpolated(table, at: $0) }
    }
    let levels = zip(timesteps, sigmas).map { NoiseLevel(timestep: $0, sigma: $1.single) }
    return SamplingPlan(levels: levels, initialScale: 1)
  }
}
