internal import Foundation
internal import Torch

/// One call of the network: from a noisy sample to a less noisy one.
public struct SamplingStep: Sendable, Equatable {
  /// The level of the sample, as the network is told.
  public let from: NoiseLevel
  /// The level after the step. Not always the next step's `from`: diffusers' DDIM goes back by T / steps timesteps, whatever
  /// timestep comes next.
  public let to: NoiseLevel

  public init(from: NoiseLevel, to: NoiseLevel) {
    self.from = from
    self.to = to
  }
}

/// The noise levels that a sampler goes through.
public struct SamplingPlan: Sendable, Equatable {
  public let steps: [SamplingStep]
  /// Factor of the unit noise that sampling starts with.
  public let initialScale: Double

  public init(steps: [SamplingStep], initialScale: Double) {
    self.steps = steps
    self.initialScale = initialScale
  }

  /// Steps through these levels to the clean picture.
  init(levels: [NoiseLevel], initialScale: Double) {
    let ends = levels.dropFirst() + [.clean]
    self.init(steps: zip(levels, ends).map { SamplingStep(from: $0, to: $1) }, initialScale: initialScale)
  }
}

// MARK: timesteps and sigmas, in the arithmetic of diffusers' schedulers so that every number is the same

extension NoiseSchedule {
  /// Timesteps to visit, falling, not rounded for linear spacing.
  func timesteps(_ spacing: TimestepSpacing, _ steps: Int) -> [Double] {
    let total = Double(count)
    switch spacing {
    case .linspace: return linspace(0, total - 1, steps).reversed()
    case .leading:
      let stride = count / steps
      return (0..<steps).reversed().map { Double($0 * stride + configuration.stepsOffset) }
    case .trailing:
      let stride = total / Double(steps)
      // NumPy's arange adds multiples of the difference of its first two numbers. For some numbers of steps, such as 61 of 1000, it
      // rounds to one more than were asked for, at timestep -1, where no model has been trained.
      let difference = (total - stride) - total
      return (0..<steps).map { (total + Double($0) * difference).rounded(.toNearestOrEven) - 1 }
    }
  }

  /// σ of every training timestep, rising. With zero terminal SNR the last one is finite, as in all of diffusers' samplers
  /// that work in σ.
  var sigmas: [Double] {
    var alphas = alphasCumprod
    if configuration.rescaleBetasZeroSNR {
      alphas = .concatenated([alphas[0..<count - 1], .full([1], 0x1p-24)])
    }
    return ((1 - alphas) / alphas).sqrt().doubles()
  }
}

/// `count` numbers from `start` to `end`, as NumPy computes them.
func linspace(_ start: Double, _ end: Double, _ count: Int) -> [Double] {
  guard count > 1 else { return [start] }
  let step = (end - start) / Double(count - 1)
  return (0..<count).map { $0 == count - 1 ? end : Double($0) * step + start }
}

/// σ at timesteps between the integers, linear and constant beyond the ends.
func interpolated(_ sigmas: [Double], at timestep: Double) -> Double {
  let low = min(max(Int(timestep), 0), sigmas.count - 2)
  let weight = min(max(timestep - Double(low), 0), 1)
  return (sigmas[low + 1] - sigmas[low]) * weight + sigmas[low]
}

/// `count` levels between two σ, evenly spaced in σ^(1/7) (arXiv 2206.00364, equation 5).
func karrasSigmas(from largest: Double, to smallest: Double, _ count: Int) -> [Double] {
  let rho = 7.0
  let (first, last) = (pow(largest, 1 / rho), pow(smallest, 1 / rho))
  return linspace(0, 1, count).map { pow(first + $0 * (last - first), rho) }
}

/// The timestep between the integers whose σ this is, linear in log σ.
func timestep(of sigma: Double, in sigmas: [Double]) -> Double {
  // diffusers keeps these logarithms in single precision.
  func logarithm(_ index: Int) -> Double { Double(Float(log(sigmas[index]))) }
  let logSigma = log(max(sigma, 1e-10))
  let above = sigmas.indices.first { logarithm($0) > logSigma } ?? sigmas.count
  let low = min(max(above - 1, 0), sigmas.count - 2)
  let (lower, upper) = (logarithm(low), logarithm(low + 1))
  let weight = min(max((lower - logSigma) / Double(Float(lower) - Float(upper)), 0), 1)
  return (1 - weight) * Double(low) + weight * Double(low + 1)
}

extension Double {
  /// The nearest number of single precision, in which diffusers keeps schedules.
  var single: Double { Double(Float(self)) }
}
