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
    let largest = groups.map(\.count).max()!
    let generator = Generator(seed: seed)
    let means = (0..<resamples).map { _ in
      let chosen = Tensor.randint(0..<groups.count, [groups.count], generator: generator).ints()
      guard largest > 1 else { return mean(chosen.map { groups[$0][0] }) }
      let places = Tensor.rand([groups.count, largest], generator: generator, dtype: .float64).doubles()
      return mean(
        chosen.enumerated().map { row, chosen in
          let group = groups[chosen]
          return mean(group.indices.map { group[Int(places[row * largest + $0] * Double(group.count))] })
        })
    }.sorted()
    func quantile(_ share: Double) -> Double {
      let place = share * Double(means.count - 1)
      let below = Int(place)
      let above = min(below + 1, means.count - 1)
      return means[below] + (means[above] - means[below]) * (place - Double(below))
    }
    self.mean = mean(groups.map(mean))
    (low, high) = (quantile(0.025), quantile(0.975))
    count = groups.map(\.count).reduce(0, +)
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
