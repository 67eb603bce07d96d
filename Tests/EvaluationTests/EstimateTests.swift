import Evaluation
import Foundation
import Testing

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

  @Test func text() {
    let estimate = Estimate(of: [0.25, 0.25])
    #expect(estimate.description == "0.250 [0.250, 0.250]" && estimate.signed == "+0.250 [+0.250, +0.250]")
  }
}
