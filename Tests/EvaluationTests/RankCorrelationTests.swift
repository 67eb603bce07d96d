import Evaluation
import Testing

@Suite struct RankCorrelationTests {
  @Test("worked by hand: order alone counts, equal values share their ranks")
  func byHand() throws {
    #expect(rankCorrelation([1, 2, 3], [10, 1000, 1001]) == 1)
    #expect(rankCorrelation([1, 2, 3], [3, 2, 1]) == -1)
    // Ranks 1, 2, 3, 4 and 2, 1, 4, 3: 1 − 6 · 4 / (4 · 15).
    #expect(abs(try #require(rankCorrelation([1, 2, 3, 4], [5, 4, 9, 8])) - 0.6) < 1e-12)
    // Ranks 1.5, 1.5, 3 and 1, 2, 3: covariance 1.5, variances 1.5 and 2.
    #expect(abs(try #require(rankCorrelation([7, 7, 9], [1, 2, 3])) - 1.5 / 3.0.squareRoot()) < 1e-12)
    #expect(rankCorrelation([4, 4, 4], [1, 2, 3]) == nil)
  }
}
