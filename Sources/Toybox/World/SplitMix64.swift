/// The random numbers of the toy world: SplitMix64 (Steele, Lea, Flood 2014), 64 bits of state.
///
/// The helpers below are spelled out instead of taken from the standard library, whose algorithms may change between
/// Swift versions: the same seed gives the same scenes on every platform.
public struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }

  /// Uniform in [0, 1), 53 bits.
  public mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// Uniform between two numbers.
  public mutating func number(_ low: Double, _ high: Double) -> Double { low + (high - low) * unit() }

  /// Uniform in 0..<count (the high word of a product; the bias is below count · 2⁻⁶⁴).
  public mutating func index(below count: Int) -> Int {
    precondition(count > 0, "no index below \(count)")
    return Int(next().multipliedFullWidth(by: UInt64(count)).high)
  }

  /// True with the given probability.
  public mutating func chance(_ probability: Double) -> Bool { unit() < probability }

  /// One of the elements, each equally likely.
  public mutating func pick<Element>(_ elements: [Element]) -> Element { elements[index(below: elements.count)] }

  /// Several different elements, in random order (a partial Fisher-Yates shuffle).
  public mutating func pick<Element>(_ count: Int, of elements: [Element]) -> [Element] {
    precondition(count <= elements.count, "\(count) of \(elements.count) elements")
    var shuffled = elements
    for place in 0..<count { shuffled.swapAt(place, place + index(below: shuffled.count - place)) }
    return Array(shuffled[..<count])
  }
}
