import Testing
import Toybox

@Suite struct SplitMix64Tests {
  @Test func publishedNumbers() {
    // The five numbers that follow the seed 1234567 in the reference implementation (Vigna, splitmix64.c).
    var random = SplitMix64(seed: 1_234_567)
    let expected: [UInt64] = [
      6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423, 4_593_380_528_125_082_431,
      16_408_922_859_458_223_821,
    ]
    #expect(expected.map { _ in random.next() } == expected)
  }

  @Test func helpersStayInRangeAndReachEverything() {
    var random = SplitMix64(seed: 2)
    var counts = [Int](repeating: 0, count: 7)
    for _ in 0..<7_000 {
      counts[random.index(below: 7)] += 1
      let number = random.number(-2, 3)
      #expect(number >= -2 && number < 3)
    }
    #expect(counts.allSatisfy { (850...1150).contains($0) }, "\(counts)")
    let hits = (0..<10_000).count { _ in random.chance(0.3) }
    #expect((2_800...3_200).contains(hits))
    for _ in 0..<100 {
      let picked = random.pick(5, of: Array(0..<8))
      #expect(Set(picked).count == 5 && picked.allSatisfy((0..<8).contains))
    }
  }
}
