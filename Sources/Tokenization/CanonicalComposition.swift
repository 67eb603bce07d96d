internal import Foundation

/// Unicode's normalization form C for the characters up to Unicode 9; newer ones are left alone.
///
/// Decompositions come from Foundation, one scalar at a time. Its composition is not used: on Linux it composes letters beyond
/// U+FFFF by their lower 16 bits, so that U+10399 U+0300 becomes U+1F76.
enum CanonicalComposition {
  /// Source: Unicode Standard Annex 15, section 1.3, and The Unicode Standard, section 3.11.
  static func composed(_ text: some Collection<Unicode.Scalar>) -> [Unicode.Scalar] {
    // Below the combining marks nothing composes.
    guard text.contains(where: { $0.value >= 0x300 }) else { return Array(text) }
    var result: [Unicode.Scalar] = []
    var starter: Int?
    var lastClass: UInt8 = 0
    for scalar in inCanonicalOrder(text.flatMap(decomposition)) {
      let combiningClass = combiningClass(of: scalar)
      // A mark reaches its starter past marks of lower classes only.
      if let starter, starter == result.count - 1 || lastClass < combiningClass,
        let composite = composite(of: result[starter], scalar)
      {
        result[starter] = composite
        continue
      }
      if combiningClass == 0 { starter = result.count }
      lastClass = combiningClass
      result.append(scalar)
    }
    return result
  }

  private static func isKnown(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.age.map { $0.major < 10 } ?? false
  }

  private static func combiningClass(of scalar: Unicode.Scalar) -> UInt8 {
    scalar.value >= 0x300 && isKnown(scalar) ? scalar.properties.canonicalCombiningClass.rawValue : 0
  }

  private static func decomposition(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    guard scalar.value >= 0xC0, isKnown(scalar) else { return [scalar] }
    return Array(String(Character(scalar)).decomposedStringWithCanonicalMapping.unicodeScalars)
  }

  /// Sorts each run of marks by class; marks of one class keep their order.
  private static func inCanonicalOrder(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var result = scalars
    let classes = scalars.map(combiningClass)
    var start = 0
    while start < classes.count {
      let end = classes[start...].firstIndex(of: 0) ?? classes.count
      if end - start > 1 {
        let order = (start..<end).sorted { (classes[$0], $0) < (classes[$1], $1) }
        result.replaceSubrange(start..<end, with: order.map { scalars[$0] })
      }
      start = end + 1
    }
    return result
  }

  private struct Pair: Hashable {
    let first, second: Unicode.Scalar
  }

  private static func composite(of first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
    hangulSyllable(of: first, second) ?? composites[Pair(first: first, second: second)]
  }

  /// Pairs with a composite, from the decompositions: the last scalar of one joins the composite of all before it.
  private static let composites: [Pair: Unicode.Scalar] = {
    // Everywhere else decompositions are those of Hangul, or are excluded from composition.
    let candidates = [0xC0..<0x3100, UInt32(0x11000)..<0x11700].joined().compactMap(Unicode.Scalar.init)
    var compositeOfParts: [[Unicode.Scalar]: Unicode.Scalar] = [:]
    for scalar in candidates where !scalar.properties.isFullCompositionExclusion {
      let parts = decomposition(scalar)
      if parts != [scalar] { compositeOfParts[parts] = scalar }
    }
    var composites: [Pair: Unicode.Scalar] = [:]
    for (parts, scalar) in compositeOfParts {
      let rest = Array(parts.dropLast())
      guard let first = rest.count == 1 ? rest[0] : compositeOfParts[rest] else { continue }
      composites[Pair(first: first, second: parts[parts.count - 1])] = scalar
    }
    return composites
  }()

  private static func hangulSyllable(of first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
    let (syllables, trailingCount, vowelCount): (UInt32, UInt32, UInt32) = (0xAC00, 28, 21)
    switch (first.value, second.value) {
    case (0x1100...0x1112, 0x1161...0x1175):
      return Unicode.Scalar(syllables + ((first.value - 0x1100) * vowelCount + second.value - 0x1161) * trailingCount)
    case (syllables...0xD7A3, 0x11A8...0x11C2) where (first.value - syllables).isMultiple(of: trailingCount):
      return Unicode.Scalar(first.value + second.value - 0x11A7)
    default:
      return nil
    }
  }
}
