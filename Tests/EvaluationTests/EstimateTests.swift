import Evaluation
import Foundation
import Testing
import Torch

@Suite struct EstimateTests {
  @Test("the interval of a mean is as wide as its standard error says")
  func width() {
    // Evenly spread over 0 ... 1: a standard deviation of 1 / √12.
    let values = (0..<400).map { (Double($0) + 0.5) / 400 }
    let estimate = Estimate(of: values)
    #expect(abs(estimate.mean - 0.5) < 1e-12 && estimate.count == 400)
    let half = 1.96 * (1 / 12.0).squareRoot() / 20
    #expect(abs(estimate.high - estimate.mean - half) < 0.03 * half, "\(estimate), half width \(half)")
    #expect(abs(estimate.mean - estimate.low - half) < 0.03 * half, "\(estimate), half width \(half)")
    #expect(Estimate(of: values) == estimate, "the same seed")
    #expect(Estimate(of: values, seed: 1) != estimate)
  }

  @Test("of few values the interval is as wide as Student's t says", arguments: [(2, 12.7062), (4, 3.1824), (10, 2.2622)])
  func fewValues(count: Int, t: Double) {
    // As many zeros as ones.
    let values = (0..<count).map { Double($0 % 2) }
    let estimate = Estimate(of: values, resamples: 100_000)
    let flat = Estimate(ofGroups: values.map { [$0] }, resamples: 100_000)
    let expansion = t / 1.959964 * (Double(count) / Double(count - 1)).squareRoot()
    #expect(abs((estimate.high - 0.5) / (flat.high - 0.5) - expansion) < 1e-3, "\(estimate), \(flat)")
    #expect(abs((0.5 - estimate.low) / (0.5 - flat.low) - expansion) < 1e-3)
    #expect(Estimate(ofGroups: [values], resamples: 100_000) == estimate)
  }

  @Test("of one value nothing is known beyond it; equal values leave no doubt")
  func narrow() {
    #expect(Estimate(of: [2]).low == 2 && Estimate(of: [2]).high == 2)
    let equal = Estimate(of: [0.25, 0.25, 0.25])
    #expect(equal.low == 0.25 && equal.high == 0.25 && equal.excludesZero)
    #expect(!Estimate(of: [-1, 1, -1, 1]).excludesZero)
  }

  @Test("groups that differ among each other make the interval wide, however many values they hold")
  func groups() {
    let apart = [Array(repeating: 0.0, count: 100), Array(repeating: 1.0, count: 100)]
    let grouped = Estimate(ofGroups: apart)
    #expect(grouped.mean == 0.5 && grouped.low == 0 && grouped.high == 1, "\(grouped)")
    let flat = Estimate(of: apart.flatMap { $0 })
    #expect(flat.low > 0.4 && flat.high < 0.6, "\(flat)")
    let uneven = Estimate(ofGroups: [[0, 0, 0, 0], [1]])
    #expect(uneven.mean == 0.5 && uneven.count == 5, "every group weighs the same: \(uneven)")
  }

  @Test("groups that share parts are as uncertain as the parts say")
  func sharedParts() throws {
    // Four subjects with eight styles: a gain of the subject alone, 0 or 1, is known from four cases and not from 32.
    let pairs = (0..<4).flatMap { subject in (0..<8).map { style in (subject: "\(subject)", style: "\(style)") } }
    let groups = pairs.map { [$0.subject < "2" ? 0.0 : 1.0] }
    let parts = [pairs.map(\.subject), pairs.map(\.style)]
    let crossed = try #require(Estimate(ofGroups: groups, sharing: parts, resamples: 20_000))
    #expect(crossed.mean == 0.5 && crossed.count == 32)
    // Of four draws of two kinds, none and all of one kind have a chance of 1/16 each: percentiles are 0 and 1. For four parts
    // they are expanded by t₃ / 1.96 · √(4/3).
    let half = 0.5 * 3.1824 / 1.959964 * (4.0 / 3).squareRoot()
    #expect(abs(crossed.low - 0.5 + half) < 1e-4 && abs(crossed.high - 0.5 - half) < 1e-4, "\(crossed)")
    let independent = Estimate(ofGroups: groups)
    #expect(independent.low > 0.3 && independent.high < 0.7, "\(independent)")

    // What varies with neither is no surer than pairs say, up to the three times the variance that the method may give.
    let noise = pairs.indices.map { [(sin(Double($0 + 1) * 12.9898) * 43_758.5453).truncatingRemainder(dividingBy: 1)] }
    let wide = try #require(Estimate(ofGroups: noise, sharing: parts, resamples: 20_000))
    let narrow = Estimate(ofGroups: noise)
    let ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    #expect(ratio > 1.8 && ratio < 1.8 * 1.9, "\(wide) beside \(narrow)")
    #expect(Estimate(ofGroups: noise, sharing: parts) == Estimate(ofGroups: noise, sharing: parts), "the same seed")

    // Each part once, or one part in all: there is nothing to learn from.
    #expect(Estimate(ofGroups: [[0], [1]], sharing: [["a", "b"], ["c", "c"]]) == nil)
    // Nor from two parts.
    #expect(Estimate(ofGroups: [[0], [0], [1]], sharing: [["a", "a", "b"], ["c", "d", "e"]]) == nil)
    let squares = [["a", "a", "b", "b"], ["c", "d", "c", "d"]]
    #expect(Estimate(ofGroups: [[0], [0], [1], [1]], sharing: squares) == nil)
    // A part in two of four pairs is a case of its own: means are 0, 1 or between.
    let nested = try #require(
      Estimate(ofGroups: [[0, 0], [0], [1], [1]], sharing: [["a", "a", "b", "c"], ["d", "e", "f", "g"]]))
    #expect(nested.low < 0 && nested.high > 1 && nested.mean == 0.5, "\(nested)")
  }

  @Test(
    "intervals for other subjects and styles hold the truth no rarer than chance allows where 95 % of them do",
    arguments: [(1.0, 0.0, 0.0), (1, 0.5, 0.5), (0, 0, 1)])
  func coverage(subject: Double, style: Double, pair: Double) throws {
    let (subjects, styles, cases) = (4, 8, 300)
    let generator = Generator(seed: 7)
    func effects(_ count: Int, _ size: Double) -> [Double] {
      Tensor.randn([count], generator: generator).floats().map { size * Double($0) }
    }
    let names = (0..<subjects).flatMap { subject in (0..<styles).map { (subject, $0) } }
    let parts = [names.map { "\($0.0)" }, names.map { "\($0.1)" }]
    var held = 0
    for _ in 0..<cases {
      let (a, b, c) = (effects(subjects, subject), effects(styles, style), effects(names.count, pair))
      let groups = names.indices.map { [a[names[$0].0] + b[names[$0].1] + c[$0]] }
      let estimate = try #require(Estimate(ofGroups: groups, sharing: parts, resamples: 500))
      if estimate.low <= 0, 0 <= estimate.high { held += 1 }
    }
    print("interval for other parts, effects \(subject), \(style), \(pair): holds the truth in \(held) of \(cases)")
    // Of intervals that hold it in 95 % of all cases, one set in twenty holds it in fewer (the binomial's fifth percentile).
    let expected = Double(cases) * 0.95
    #expect(Double(held) >= expected - 1.645 * (expected * 0.05).squareRoot(), "\(held) of \(cases)")
  }

  @Test func text() {
    let estimate = Estimate(of: [0.25, 0.25])
    #expect(estimate.description == "0.250 [0.250, 0.250]" && estimate.signed == "+0.250 [+0.250, +0.250]")
    #expect(Estimate(of: [0.25]).description == "0.250 [one value]" && Estimate(of: [0.25]).signed == "+0.250 [one value]")
  }
}
