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

  /// Percentiles of the means of few values are more certain of themselves than they should be, so they are expanded as those of
  /// few parts are (`init(ofGroups:sharing:)`).
  ///
  /// - Parameters:
  ///   - values: of pictures made independently of each other; to compare two models, the differences of pictures with the
  ///     same prompt and seed.
  ///   - resamples: how many means are drawn.
  ///   - seed: of the drawing.
  public init(of values: [Double], resamples: Int = 10_000, seed: UInt64 = 0) {
    self.init(resampling: values.map { [$0] }, resamples, seed: seed)
    if values.count > 1 { expand(parts: values.count) }
  }

  /// Of values in groups, such as pictures of several pairs of LoRAs, every group weighing the same.
  ///
  /// Groups are resampled, and values in those: pictures of one pair are no independent witnesses of what happens with another.
  /// Groups count as independent; of those that have something in common see `init(ofGroups:sharing:)`. Of one group nothing but
  /// its values is known: it is the estimate of these.
  public init(ofGroups groups: [[Double]], resamples: Int = 10_000, seed: UInt64 = 0) {
    if groups.count == 1 {
      self.init(of: groups[0], resamples: resamples, seed: seed)
    } else {
      self.init(resampling: groups, resamples, seed: seed)
    }
  }

  private init(resampling groups: [[Double]], _ resamples: Int, seed: UInt64) {
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
    }
    self.init(mean: mean(groups.map(mean)), resampled: means, count: groups.map(\.count).reduce(0, +))
  }

  /// Of groups that share what they are made of, such as pairs of few subjects and few styles: what may be expected of other
  /// subjects and styles.
  ///
  /// What is shared is resampled, kind by kind, and a group counts as often as the product of its parts was drawn (the pigeonhole
  /// bootstrap, Owen 2007, doi 10.1214/07-AOAS122); then values in groups. Means of few parts are more certain of themselves than they
  /// should be, so the interval is expanded for the number of parts of the kind that has fewest (Hesterberg 2015, doi
  /// 10.1080/00031305.2015.1089789, section 4): by √(n / (n − 1)), for a resampled variance is too small by that much, and by what
  /// Student's t has more than the normal law. It is then rather too wide than too narrow.
  ///
  /// - Parameter parts: kinds of what groups share, each with a name for every group. A kind counts where several groups have a part
  ///   in common and not all of them do.
  /// - Returns: nil where no kind counts, or one that does has but two parts: these tell nothing of others, with an interval nine
  ///   times as wide as the normal law's.
  public init?(ofGroups groups: [[Double]], sharing parts: [[String]], resamples: Int = 4_000, seed: UInt64 = 0) {
    let kinds = parts.compactMap { names -> [Int]? in
      precondition(names.count == groups.count, "\(names.count) parts of \(groups.count) groups")
      let distinct = Set(names).sorted()
      return 1 < distinct.count && distinct.count < names.count ? names.map { distinct.firstIndex(of: $0)! } : nil
    }
    let counts = kinds.map { $0.max()! + 1 }
    guard let fewest = counts.min(), fewest > 2 else { return nil }
    let generator = Generator(seed: seed)
    func draws(_ count: Int, _ total: Int) -> [Int] { Tensor.randint(0..<count, [total], generator: generator).ints() }
    let drawn = counts.map { draws($0, resamples * $0) }
    let places = groups.map { $0.count > 1 ? draws($0.count, resamples * $0.count) : [] }
    let means = (0..<resamples).compactMap { resample -> Double? in
      let times = zip(counts, drawn).map { count, drawn in
        var times = [Int](repeating: 0, count: count)
        for part in drawn[resample * count..<(resample + 1) * count] { times[part] += 1 }
        return times
      }
      var (sum, weights) = (0.0, 0)
      for (index, group) in groups.enumerated() {
        let weight = zip(kinds, times).reduce(1) { $0 * $1.1[$1.0[index]] }
        guard weight > 0 else { continue }
        let chosen = places[index].isEmpty ? 0..<0 : resample * group.count..<(resample + 1) * group.count
        let mean = chosen.isEmpty ? group[0] : places[index][chosen].reduce(0) { $0 + group[$1] } / Double(group.count)
        sum += mean * Double(weight)
        weights += weight
      }
      // Where not every subject is with every style, what was drawn may have no pair.
      return weights > 0 ? sum / Double(weights) : nil
    }
    let mean = groups.reduce(0) { $0 + $1.reduce(0, +) / Double($1.count) } / Double(groups.count)
    self.init(mean: mean, resampled: means, count: groups.map(\.count).reduce(0, +))
    expand(parts: fewest)
  }

  private mutating func expand(parts: Int) {
    let expansion = Self.expansion(parts: parts)
    (low, high) = (mean - expansion * (mean - low), mean + expansion * (high - mean))
  }

  /// How much too narrow percentiles of resampled means of so many parts are.
  private static func expansion(parts: Int) -> Double {
    let degrees = Double(parts - 1)
    let normal = 1.959964
    // The first quantiles of Student's t from two parts on, and then its expansion by the degrees of freedom (Abramowitz and
    // Stegun 26.7.5), within .001.
    let known = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469]
    func power(_ exponent: Double) -> Double { pow(normal, exponent) }
    let student =
      parts - 2 < known.count
      ? known[parts - 2]
      : normal + (power(3) + normal) / (4 * degrees)
        + (5 * power(5) + 16 * power(3) + 3 * normal) / (96 * pow(degrees, 2))
        + (3 * power(7) + 19 * power(5) + 17 * power(3) - 15 * normal) / (384 * pow(degrees, 3))
    return student / normal * (Double(parts) / degrees).squareRoot()
  }

  private init(mean: Double, resampled: [Double], count: Int) {
    let means = resampled.sorted()
    func quantile(_ share: Double) -> Double {
      let place = share * Double(means.count - 1)
      let below = Int(place)
      let above = min(below + 1, means.count - 1)
      return means[below] + (means[above] - means[below]) * (place - Double(below))
    }
    self.mean = mean
    (low, high) = (quantile(0.025), quantile(0.975))
    self.count = count
  }

  /// Whether zero is outside of the interval: a difference that is more than chance.
  public var excludesZero: Bool { low > 0 || high < 0 }
}

extension Estimate: CustomStringConvertible {
  /// Such as `0.651 [0.612, 0.689]`; one value says nothing about others.
  public var description: String { text(number: "%.3f") }

  /// The same of a difference, such as `+0.101 [+0.034, +0.170]`.
  public var signed: String { text(number: "%+.3f") }

  private func text(number: String) -> String {
    count > 1
      ? String(format: "\(number) [\(number), \(number)]", mean, low, high) : String(format: "\(number) [one value]", mean)
  }
}
