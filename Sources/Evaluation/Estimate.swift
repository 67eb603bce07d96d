internal import Foundation
internal import Torch

/// A mean with its 95 % interval.
///
/// The interval is the bootstrap's (Efron 1979, percentiles of resampled means): scores of pictures follow no known law.
public struct Estimate: Codable, Sendable, Equatable {
  public var mean: Double
  public var low: Double
  public var high: Double
  /// Values that it was made of.
  public var count: Int

  /// - Parameters:
  ///   - values: of pictures made independently of each other; to compare two models, the differences of pictures with the
  ///     same prompt and seed.
  ///   - resamples: how many means are drawn.
  ///   - seed: of the drawing.
  public init(of values: [Double], resamples: Int = 10_000, seed: UInt64 = 0) {
    self.init(ofGroups: values.map { [$0] }, resamples: resamples, seed: seed)
  }

  /// Of values in groups, such as pictures of several pairs of LoRAs, every group weighing the same.
  ///
  /// Groups are resampled, and values in those: pictures of one pair are no independent witnesses of what happens with another.
  public init(ofGroups groups: [[Double]], resamples: Int = 10_000, seed: UInt64 = 0) {
    precondition(!groups.isEmpty && groups.allSatisfy { !$0.isEmpty }, "a mean of nothing")
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
    let (count, largest) = (groups.count, groups.map(\.count).max()!)
    let generator = Generator(seed: seed)
    let chosen = Tensor.randint(0..<count, [resamples * count], generator: generator).ints()
    // Where in its group each value of a chosen group comes from; of a group of one there is no choice.
    let places = largest > 1 ? Tensor.rand([chosen.count * largest], generator: generator).floats() : []
    let means = (0..<resamples).map { resample in
      var sum = 0.0
      for draw in resample * count..<(resample + 1) * count {
        let group = groups[chosen[draw]]
        guard group.count > 1 else {
          sum += group[0]
          continue
        }
        var inside = 0.0
        for place in places[draw * largest..<draw * largest + group.count] {
          inside += group[min(Int(place * Float(group.count)), group.count - 1)]
        }
        sum += inside / Double(group.count)
      }
      return sum / Double(count)
    }.sorted()
    func quantile(_ share: Double) -> Double {
      let place = share * Double(means.count - 1)
      let below = Int(place)
      let above = min(below + 1, means.count - 1)
      return means[below] + (means[above] - means[below]) * (place - Double(below))
    }
    self.mean = mean(groups.map(mean))
    (low, high) = (quantile(0.025), quantile(0.975))
    self.count = groups.map(\.count).reduce(0, +)
  }

  /// Whether zero is outside of the interval: a difference that is more than chance.
  public var excludesZero: Bool { low > 0 || high < 0 }
}

extension Estimate: CustomStringConvertible {
  /// Such as `0.651 [0.612, 0.689]`.
  public var description: String { String(format: "%.3f [%.3f, %.3f]", mean, low, high) }

  /// The same of a difference, such as `+0.101 [+0.034, +0.170]`.
  public var signed: String { String(format: "%+.3f [%+.3f, %+.3f]", mean, low, high) }
}
