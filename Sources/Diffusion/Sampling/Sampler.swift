public import Torch

/// A way from noise to a picture.
///
/// A sampler is one short pure function of a denoiser, a sample, the levels to go through and a source of noise. To add one:
/// a file beside this one and a line in `all`; help and tests read the table.
public struct Sampler: Sendable {
  public typealias Method =
    @Sendable (_ denoiser: any Denoiser, _ sample: Tensor, _ steps: [SamplingStep], _ noise: NoiseSource) throws -> Tensor

  public static let all: [Sampler] = [.ddim, .euler, .eulerAncestral, .dpmSolverMultistep]

  /// As in `--sampler`.
  public let name: String
  public let summary: String
  /// As A1111 lists it (modules/sd_samplers_kdiffusion.py, sd_samplers_timesteps.py), with the schedule where that is part of it: of
  /// pictures with any other name A1111 takes its first sampler.
  package let nameInA1111: String
  /// Where it was published, and which class of diffusers computes the same.
  public let source: String
  /// The error falls with this power of the number of steps.
  public let order: Int
  /// Whether it adds fresh noise in each step.
  public let isAncestral: Bool
  let makePlan: @Sendable (NoiseSchedule, Int) -> SamplingPlan
  let method: Method

  /// - Throws: `SamplingError.unknownSampler` with all names.
  public static func named(_ name: String) throws(SamplingError) -> Sampler {
    guard let found = all.first(where: { $0.name == name }) else {
      throw .unknownSampler(name, known: all.map(\.name))
    }
    return found
  }

  /// The levels that this sampler goes through.
  ///
  /// - Throws: `SamplingError.steps` for fewer than 1 or more steps than training timesteps.
  public func plan(_ schedule: NoiseSchedule, steps: Int) throws(SamplingError) -> SamplingPlan {
    guard (1...schedule.count).contains(steps) else { throw .steps(steps, limit: schedule.count) }
    return makePlan(schedule, steps)
  }

  /// Turns noise into a picture.
  ///
  /// - Parameters:
  ///   - noise: unit noise [N, ...], float32.
  ///   - fresh: what ancestral samplers draw from, with a generator for each sample; others need none.
  ///   - observer: sees the sample before each step and after the last one; what it throws ends the work.
  /// - Returns: [N, ...]
  /// - Throws: `SamplingError.generators` for an ancestral sampler without them, and what denoiser and observer throw.
  public func sample(
    _ denoiser: any Denoiser, noise: Tensor, plan: SamplingPlan, fresh: NoiseSource? = nil,
    observer: SamplingObserver? = nil
  ) throws -> Tensor {
    let fresh = fresh ?? NoiseSource([])
    guard !isAncestral || fresh.generators.count == noise.dim(0) else {
      throw SamplingError.generators(fresh.generators.count, samples: noise.dim(0), sampler: name)
    }
    return try withoutGrad {
      let observed = ObservedDenoiser(denoiser, steps: plan.steps.count, observer)
      let sample = try method(observed, noise * plan.initialScale, plan.steps, fresh)
      try observer?(SamplingState(step: plan.steps.count, total: plan.steps.count, sample: sample))
      return sample
    }
  }
}

extension Sampler: CustomStringConvertible {
  public var description: String { name }
}

/// Where sampling stands.
public struct SamplingState {
  /// Steps done, 0 … total.
  public let step: Int
  public let total: Int
  /// signal · clean + spread · noise, [N, ...].
  public let sample: Tensor
}

/// Sees each state of sampling and may end it by throwing.
public typealias SamplingObserver = (SamplingState) throws -> Void

/// Reports each call, so that samplers need not. Ends sampling at the first operation that fails.
private final class ObservedDenoiser: Denoiser {
  private let denoiser: any Denoiser
  private let observer: SamplingObserver?
  private let total: Int
  private var calls = 0

  init(_ denoiser: any Denoiser, steps: Int, _ observer: SamplingObserver?) {
    self.denoiser = denoiser
    self.observer = observer
    total = steps
  }

  func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor {
    try observer?(SamplingState(step: calls, total: total, sample: sample))
    calls += 1
    return try withTorchErrors { try denoiser(sample, at: level) }
  }
}

/// Noise for a batch of which each sample has its own stream of random numbers: no sample depends on how many there are.
public struct NoiseSource {
  public let generators: [Generator]
  /// The type in which numbers are drawn: a seed gives other numbers in another type, as in PyTorch.
  public let dtype: DType

  public init(_ generators: [Generator], dtype: DType = .float32) {
    self.generators = generators
    self.dtype = dtype
  }

  /// Unit noise [generators, ...], float32.
  public func callAsFunction(_ shape: [Int], device: Device) -> Tensor {
    let each = generators.map { Tensor.randn([1] + shape, generator: $0, dtype: dtype) }
    return Tensor.concatenated(each).to(dtype: .float32, device: device)
  }

  func callAsFunction(like sample: Tensor) -> Tensor {
    self(Array(sample.shape.dropFirst()), device: sample.device)
  }
}

/// A request that no sampler can fulfil.
public enum SamplingError: Error, CustomStringConvertible, Equatable {
  case unknownSampler(String, known: [String])
  case steps(Int, limit: Int)
  case generators(Int, samples: Int, sampler: String)

  public var description: String {
    switch self {
    case .unknownSampler(let name, let known):
      "there is no sampler \"\(name)\"; choose one of \(known.joined(separator: ", "))"
    case .steps(let steps, let limit):
      "\(steps) steps are not possible; choose a number from 1 to \(limit), the model's number of training timesteps"
    case .generators(let count, let samples, let sampler):
      "\(sampler) adds fresh noise in each step: expected a generator for each of \(samples) samples, found \(count)"
    }
  }
}
