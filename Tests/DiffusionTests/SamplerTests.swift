import Diffusion
import Foundation
import TestFiles
import TestSupport
import Testing
import Torch

/// Timesteps, sigmas and whole trajectories as those of diffusers 0.42.1 (Tests/Goldens/schedules).
@Suite struct SamplerParityTests {
  struct Row: Sendable, CustomTestStringConvertible {
    let golden: String
    let sampler: Sampler
    var karras = false
    /// diffusers' Euler schedulers keep clean + σ · noise, the others samples of unit variance, as we do.
    var isScaled = false
    var testDescription: String { golden }
  }

  static let rows = [
    Row(golden: "ddim", sampler: .ddim),
    Row(golden: "euler", sampler: .euler, isScaled: true),
    Row(golden: "euler_karras", sampler: .euler, karras: true, isScaled: true),
    Row(golden: "euler_ancestral", sampler: .eulerAncestral, isScaled: true),
    Row(golden: "dpm++2m", sampler: .dpmSolver(name: "dpm++2m", karras: false)),
    Row(golden: "dpm++2m_karras", sampler: .dpmSolverMultistep),
  ]
  static let configurations = ["sdxl", "sd15", "leading_v", "linspace", "trailing", "trailing_v", "zero_snr"]

  static func schedule(_ name: String, karras: Bool = false) throws -> NoiseSchedule {
    let data = try Data(contentsOf: URL(fileURLWithPath: "\(goldens)/schedules/configs.json"))
    var configuration = try #require(JSONDecoder().decode([String: NoiseSchedule.Configuration].self, from: data)[name])
    configuration.useKarrasSigmas = karras
    return NoiseSchedule(configuration)
  }

  @Test("levels are the same: timesteps exact, sigmas to 1e-6, of zero_snr to 1e-5", arguments: rows, configurations)
  func levels(row: Row, name: String) throws {
    // Zero terminal SNR takes square roots and their differences, and libtorch's roots are not the same to the last bit on all
    // processors. Where little noise is left that is much of 1 − ᾱ: diffusers' own sigmas on another maker's are 3.2e-6 from these.
    let tolerance = name == "zero_snr" ? 1e-5 : 1e-6
    let expected = try SafeTensorsCollection(path: "\(goldens)/schedules/\(row.golden).safetensors")
    let schedule = try Self.schedule(name, karras: row.karras)
    for steps in [4, 20, 30, 50] {
      let plan = try row.sampler.plan(schedule, steps: steps)
      let timesteps = try expected.tensor("\(name).\(steps).timesteps")
      let found = plan.steps.map(\.from.timestep)
      if timesteps.dtype == .int64 {
        #expect(found.map { Int($0) } == timesteps.ints(), "\(steps) steps")
      } else {
        #expect(difference(Tensor(found), timesteps.to(dtype: .float64)) < 1e-6)
      }
      if expected.shape(of: "\(name).\(steps).sigmas") != nil {
        let sigmas = try expected.tensor("\(name).\(steps).sigmas").doubles()
        let levels = plan.steps.map(\.from) + plan.steps.suffix(1).map(\.to)
        let matches = zip(levels, sigmas).allSatisfy { abs($0.sigma - $1) <= tolerance * $1 }
        #expect(levels.count == sigmas.count && matches, "\(steps) steps: \(levels.map(\.sigma)), not \(sigmas)")
      }
      let scale = row.isScaled ? plan.steps[0].from.signal : 1
      let initialScale = try expected.tensor("\(name).\(steps).init_noise_sigma").item()
      #expect(abs(plan.initialScale / scale / initialScale - 1) < 1e-6)
    }
  }

  @Test("every state on the way, largest relative difference 1.3e-6 without zero_snr", arguments: rows, configurations)
  func trajectory(row: Row, name: String) throws {
    let expected = try SafeTensorsCollection(path: "\(goldens)/schedules/\(row.golden).safetensors")
    let schedule = try Self.schedule(name, karras: row.karras)
    let denoiser = schedule.configuration.predictionType.denoiser { sample, level in
      0.3 * sample + 0.1 * sin(level.timestep / 100)
    }
    // Where σ begins at 4096, clean + σ · noise loses four digits: diffusers' own float32 is 5e-5 from float64 there.
    let tolerance = row.isScaled && name == "zero_snr" ? 1e-4 : 1e-5
    for steps in [4, 20, 30, 50] {
      let plan = try row.sampler.plan(schedule, steps: steps)
      let source = NoiseSource([Generator(seed: 7)])
      var states: [Tensor] = []
      let noise = source([4, 2, 2], device: .cpu)
      let final = try row.sampler.sample(denoiser, noise: noise, plan: plan, fresh: source) { states.append($0.sample) }
      #expect(final.equals(states[steps]))
      let levels = plan.steps.map(\.from) + plan.steps.suffix(1).map(\.to)
      let latents = try expected.tensor("\(name).\(steps).latents")
      try #require(latents.dim(0) == states.count)
      for (index, state) in states.enumerated() {
        let found = row.isScaled ? state / levels[index].signal : state
        let error = difference(found, latents[index])
        #expect(error < tolerance, "step \(index) of \(steps): \(error)")
      }
    }
  }

  @Test("noising and the velocity of training", arguments: ["sdxl", "zero_snr"])
  func training(name: String) throws {
    let expected = try SafeTensorsCollection(path: "\(goldens)/schedules/training/expected.safetensors")
    let schedule = try Self.schedule(name)
    #expect(try difference(schedule.alphasCumprod, expected.tensor("\(name).alphas_cumprod")) < 1e-6)
    let (clean, noise) = (try expected.tensor("sample"), try expected.tensor("noise"))
    let timesteps = try expected.tensor("timesteps")
    #expect(try difference(schedule.addNoise(noise, to: clean, at: timesteps), expected.tensor("\(name).noisy")) < 1e-6)
    #expect(
      try difference(schedule.velocity(clean: clean, noise: noise, at: timesteps), expected.tensor("\(name).velocity")) < 1e-6)
  }
}

/// What every sampler of the table must do.
@Suite struct SamplerContractTests {
  /// Data of a normal distribution: D(x, σ) = x s² / (s² + σ²).
  private struct GaussianDenoiser: Denoiser {
    static let deviation = 0.5

    func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor {
      let variance = Self.deviation * Self.deviation
      return sample * (variance / (variance + level.sigma * level.sigma) / level.signal)
    }
  }

  /// From σ = 10 to 0.1, evenly in log σ.
  private func plan(steps: Int) -> SamplingPlan {
    let levels = (0...steps).map { NoiseLevel(timestep: 0, sigma: 10 * pow(0.01, Double($0) / Double(steps))) }
    return SamplingPlan(
      steps: zip(levels, levels.dropFirst()).map { SamplingStep(from: $0, to: $1) }, initialScale: levels[0].spread)
  }

  /// √(s² + σ²) of the noisy data at the end and at the start.
  private var deviations: (end: Double, start: Double) {
    let variance = GaussianDenoiser.deviation * GaussianDenoiser.deviation
    return ((variance + 0.1 * 0.1).squareRoot(), (variance + 10.0 * 10).squareRoot())
  }

  @Test("the error to the exact solution falls at the claimed order", arguments: Sampler.all.filter { !$0.isAncestral })
  func order(sampler: Sampler) throws {
    let errors = try [40, 80].map { steps in
      let plan = plan(steps: steps)
      let start = Tensor([1.0])
      let end = try sampler.sample(GaussianDenoiser(), noise: start, plan: plan).item() / plan.steps[steps - 1].to.signal
      // In k-diffusion's scale the way starts at σ · noise.
      return abs(end / (10 * deviations.end / deviations.start) - 1)
    }
    let order = log2(errors[0] / errors[1])
    #expect(abs(order - Double(sampler.order)) < 0.2, "errors \(errors), order \(order)")
  }

  @Test("fresh noise leaves the distribution as it is", arguments: Sampler.all.filter(\.isAncestral))
  func distribution(sampler: Sampler) throws {
    let errors = try [10, 160].map { steps in
      let plan = plan(steps: steps)
      let source = NoiseSource([Generator(seed: 3)])
      let start = source([1 << 16], device: .cpu) * (deviations.start / 10)
      let end = try sampler.sample(GaussianDenoiser(), noise: start, plan: plan, fresh: source)
      return abs(end.variance([1]).sqrt().item() / plan.steps[steps - 1].to.signal / deviations.end - 1)
    }
    // The deviation of 65536 numbers is known to 0.3 %.
    #expect(errors[1] < 0.02 && errors[0] > 4 * errors[1], "\(errors)")
  }

  private struct Stop: Error {}

  @Test("stops on request", arguments: Sampler.all)
  func cancellation(sampler: Sampler) throws {
    let plan = try sampler.plan(.stableDiffusion, steps: 8)
    let source = NoiseSource([Generator(seed: 0)])
    var seen: [Int] = []
    #expect(throws: Stop.self) {
      _ = try sampler.sample(GaussianDenoiser(), noise: source([2], device: .cpu), plan: plan, fresh: source) { state in
        seen.append(state.step)
        #expect(state.total == 8)
        if state.step == 3 { throw Stop() }
      }
    }
    #expect(seen == [0, 1, 2, 3])
  }

  @Test("a sample does not depend on those beside it", arguments: Sampler.all)
  func batches(sampler: Sampler) throws {
    let plan = try sampler.plan(.stableDiffusion, steps: 5)
    func run(_ seeds: [UInt64]) throws -> Tensor {
      let source = NoiseSource(seeds.map { Generator(seed: $0) })
      return try sampler.sample(GaussianDenoiser(), noise: source([3, 5], device: .cpu), plan: plan, fresh: source)
    }
    #expect(try run([4, 5])[1..<2].equals(run([5])))
  }

  @Test("the first operation that fails ends the work")
  func failure() throws {
    struct Broken: Denoiser {
      func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor { sample.matmul(Tensor.zeros([7, 7])) }
    }
    let plan = try Sampler.euler.plan(.stableDiffusion, steps: 5)
    var last = -1
    #expect(throws: TorchError.self) {
      _ = try Sampler.euler.sample(Broken(), noise: Tensor.ones([2, 3]), plan: plan) { last = $0.step }
    }
    #expect(last == 0)
  }

  @Test("names are those of the command line, and an unknown one is answered with them")
  func names() throws {
    #expect(Sampler.all.map(\.name) == ["ddim", "euler", "euler-ancestral", "dpm++2m"])
    for sampler in Sampler.all { #expect(try Sampler.named(sampler.name).name == sampler.name) }
    let error = try #require(throws: SamplingError.self) { try Sampler.named("dpm2") }
    #expect(error.description == #"there is no sampler "dpm2"; choose one of ddim, euler, euler-ancestral, dpm++2m"#)
  }

  @Test("numbers of steps that cannot be", arguments: [0, -3, 1001])
  func steps(number: Int) throws {
    let error = try #require(throws: SamplingError.self) { try Sampler.euler.plan(.stableDiffusion, steps: number) }
    #expect(error.description.hasPrefix("\(number) steps are not possible; choose a number from 1 to 1000"))
  }

  @Test("fresh noise needs a generator for each sample", arguments: [nil, 1])
  func generators(count: Int?) throws {
    struct Silent: Denoiser {
      func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor { sample }
    }
    let plan = try Sampler.eulerAncestral.plan(.stableDiffusion, steps: 2)
    let fresh = count.map { NoiseSource((0..<$0).map { Generator(seed: UInt64($0)) }) }
    let error = try #require(throws: SamplingError.self) {
      try Sampler.eulerAncestral.sample(Silent(), noise: Tensor.ones([2, 3]), plan: plan, fresh: fresh)
    }
    #expect(
      error.description
        == "euler-ancestral adds fresh noise in each step: expected a generator for each of 2 samples, found \(count ?? 0)")
  }

  @Test(
    "every sampler takes any number of steps", arguments: Sampler.all,
    [NoiseSchedule.TimestepSpacing.leading, .linspace, .trailing])
  func extremes(sampler: Sampler, spacing: NoiseSchedule.TimestepSpacing) throws {
    var configuration = NoiseSchedule.Configuration.stableDiffusion
    configuration.timestepSpacing = spacing
    // At 61 and 122, multiples of 1000 / steps are rounded to reach 1000 one step late.
    for steps in [1, 2, 3, 7, 61, 122, 999, 1000] {
      let plan = try sampler.plan(NoiseSchedule(configuration), steps: steps)
      #expect(plan.steps.count == steps)
      #expect(plan.steps.allSatisfy { $0.from.sigma.isFinite && $0.from.sigma > 0 && $0.to.sigma >= 0 }, "\(steps)")
    }
  }
}

@Suite struct ScheduleConfigurationTests {
  private func decode(_ json: String) throws -> NoiseSchedule.Configuration {
    try JSONDecoder().decode(NoiseSchedule.Configuration.self, from: Data(json.utf8))
  }

  @Test("what is encoded decodes to the same")
  func roundTrip() throws {
    let data = try Data(contentsOf: URL(fileURLWithPath: "\(goldens)/schedules/configs.json"))
    for (_, configuration) in try JSONDecoder().decode([String: NoiseSchedule.Configuration].self, from: data) {
      let copy = try JSONDecoder().decode(NoiseSchedule.Configuration.self, from: JSONEncoder().encode(configuration))
      #expect(copy == configuration)
    }
  }

  @Test("Stable Diffusion's settings are those of the published file")
  func published() throws {
    let file = try ModelFolder(path: "\(goldens)/pipelines/sdxl/scheduler")
    let read = try file.configuration(NoiseSchedule.Configuration.self, file: "scheduler_config.json")
    #expect(read == .stableDiffusion)
  }

  @Test("a file with Python's -Infinity, as DPMSolverMultistepScheduler writes it")
  func infinity() throws {
    let folder = try TemporaryFolder()
    try #"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "beta_end": 0.012}"#
      .write(toFile: "\(folder.path)/scheduler_config.json", atomically: true, encoding: .utf8)
    let read = try ModelFolder(path: folder.path)
      .configuration(NoiseSchedule.Configuration.self, file: "scheduler_config.json")
    #expect(read.betaEnd == 0.012)
  }

  @Test("schedulers that clip by default are read where the file says that they do not", arguments: ["DDIM", "DDPM"])
  func clipping(name: String) throws {
    let read = try decode(#"{"_class_name": "\#(name)Scheduler", "clip_sample": false}"#)
    #expect(read == NoiseSchedule.Configuration(className: "\(name)Scheduler"))
  }

  @Test("trained betas take the place of a formula")
  func trainedBetas() throws {
    let schedule = NoiseSchedule(try decode(#"{"num_train_timesteps": 3, "trained_betas": [0.5, 0.25, 0.125]}"#))
    #expect(schedule.alphasCumprod.floats() == [0.5, 0.375, 0.328125])
  }

  @Test(
    "an unsupported setting is named with what was found and what there is",
    arguments: [
      (
        #"{"beta_schedule": "squaredcos_cap_v2"}"#,
        #"beta_schedule is "squaredcos_cap_v2", which is not supported; supported: "linear", "scaled_linear""#
      ),
      (#"{"prediction_type": "sample"}"#, #"supported: "epsilon", "v_prediction""#),
      (#"{"timestep_spacing": "even"}"#, #"supported: "linspace", "leading", "trailing""#),
      (#"{"use_exponential_sigmas": true}"#, "use_exponential_sigmas is true, which is not supported"),
      (#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#, #"_class_name is "FlowMatchEulerDiscreteScheduler""#),
      (#"{"trained_betas": [0.1]}"#, "trained_betas is 1 numbers, expected num_train_timesteps = 1000 numbers"),
      (#"{"beta_end": 2}"#, "beta_end is 2.0, expected a variance between 0 and 1"),
      (
        #"{"rescale_betas_zero_snr": true}"#,
        #"prediction_type is "epsilon", expected "v_prediction", because rescale_betas_zero_snr is true"#
      ),
    ])
  func unsupported(json: String, message: String) throws {
    let error = try #require(throws: ConfigurationError.self) { try decode(json) }
    #expect(error.description.contains(message), "\(error)")
  }
}
