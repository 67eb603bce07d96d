import Testing
import Tokenization

/// Letters, numbers, white space, lower case and composition, over all of Unicode, as tokenizers 0.23 has them.
///
/// The tables of the platform may be newer than those; `CLIPText` must not show it.
@Suite struct UnicodeTests {
  /// The other planes hold no characters, or private ones.
  private let allScalars = [0...0x3FFFF, 0xE0000...0xE0FFF, UInt32(0x10FFF0)...0x10FFFF].joined().compactMap(Unicode.Scalar.init)

  @Test func kindsOfAllScalars() {
    let golden = Golden.unicode
    var expected = [CLIPText.Kind](repeating: .symbol, count: 0x110000)
    for (ranges, kind) in [(golden.letters, CLIPText.Kind.letter), (golden.numbers, .number), (golden.spaces, .space)] {
      for range in ranges {
        for value in range[0]...range[1] { expected[Int(value)] = kind }
      }
    }
    let wrong = allScalars.filter { CLIPText.Kind($0) != expected[Int($0.value)] }
    #expect(wrong.isEmpty, "\(wrong.count) differ, first \(wrong.prefix(10))")
  }

  @Test func normalizationOfAllScalars() {
    let golden = Golden.unicode
    let composed = mapping(golden.nfc)
    let lowered = mapping(golden.lowercase)
    let spaces = Set(golden.spaces.flatMap { $0[0]...$0[1] })
    let wrong = allScalars.filter { scalar in
      let expected = (composed[scalar.value] ?? [scalar.value]).flatMap { lowered[$0] ?? [$0] }
      return CLIPText.normalized([scalar]).map(\.value) != (spaces.contains(scalar.value) ? [0x20] : expected)
    }
    #expect(wrong.isEmpty, "\(wrong.count) differ, first \(wrong.prefix(10))")
  }

  @Test func compositions() {
    let lowered = mapping(Golden.unicode.lowercase)
    for entry in Golden.unicode.compositions {
      let parts = entry.dropFirst().compactMap(Unicode.Scalar.init)
      #expect(CLIPText.normalized(parts).map(\.value) == lowered[entry[0]] ?? [entry[0]], "\(entry)")
    }
  }

  /// U+0345 has the combining class 240: marks of lower classes move before it, as far as the pinned library knows them.
  @Test func canonicalOrder() {
    var reordered = Set<UInt32>()
    for range in Golden.unicode.reordered { reordered.formUnion(range[0]...range[1]) }
    let marks = allScalars.filter { $0.properties.canonicalCombiningClass != .notReordered || reordered.contains($0.value) }
    let wrong = marks.filter { mark in
      let given: [Unicode.Scalar] = ["1", "\u{345}", mark]
      let result = CLIPText.normalized(given)
      let moved = result != given && result == CLIPText.normalized(["1", mark, "\u{345}"])
      return moved != reordered.contains(mark.value)
    }
    #expect(marks.count > 900)
    #expect(wrong.isEmpty, "\(wrong.count) differ, first \(wrong.prefix(10))")
  }

  private func mapping(_ entries: [[UInt32]]) -> [UInt32: [UInt32]] {
    Dictionary(uniqueKeysWithValues: entries.map { ($0[0], Array($0.dropFirst())) })
  }
}
