/// A regular expression over module paths, as peft's `alpha_pattern` may hold (Python's `re`).
///
/// It comes with a file from anywhere, and matchers that go back to try another way take exponential time for some
/// expressions. This one follows all ways at once (K. Thompson, CACM 11(6), 1968): its time is the length of the path times
/// that of the expression. Look-around and back-references are beyond it.
struct ModulePattern {
  private enum Step {
    case scalar(ScalarClass)
    case start
    case end
    case jump(Int)
    case split(Int, Int)
  }

  private var steps: [Step] = []
  /// How many more parts may come. Repetitions of repetitions could make any number, and no module's name needs them.
  private var budget = 1000

  /// nil for what is no such expression.
  init?(_ expression: String) {
    guard expression.utf8.count <= 1000 else { return nil }
    var parser = PatternParser(expression)
    guard let node = parser.expression(), parser.isAtEnd, emit(node) else { return nil }
  }

  /// Adds the steps of a node; false when they become too many.
  private mutating func emit(_ node: PatternNode) -> Bool {
    guard budget > 0 else { return false }
    budget -= 1
    switch node {
    case .scalar(let scalars): steps.append(.scalar(scalars))
    case .start: steps.append(.start)
    case .end: steps.append(.end)
    case .sequence(let nodes): for node in nodes { guard emit(node) else { return false } }
    case .choice(let first, let second):
      let split = reserve()
      guard emit(first) else { return false }
      let jump = reserve()
      steps[split] = .split(split + 1, steps.count)
      guard emit(second) else { return false }
      steps[jump] = .jump(steps.count)
    case .repetition(let node, let least, let most):
      for _ in 0..<least { guard emit(node) else { return false } }
      for _ in 0..<((most ?? least + 1) - least) {
        let split = reserve()
        guard emit(node) else { return false }
        if most == nil { steps.append(.jump(split)) }
        steps[split] = .split(split + 1, steps.count)
      }
    }
    return true
  }

  /// Makes room for a step that is known later.
  private mutating func reserve() -> Int {
    steps.append(.jump(steps.count + 1))
    return steps.count - 1
  }

  /// Whether the expression matches a path, or its ending behind a dot (peft: utils/other.py get_pattern_key).
  func matches(_ module: String) -> Bool {
    let scalars = Array(module.unicodeScalars)
    var current: [Int] = []
    for position in scalars.indices {
      if position == 0 || scalars[position - 1] == "." { current.append(0) }
      current = reachable(from: current, position: position, count: scalars.count).compactMap { step in
        guard step < steps.count, case .scalar(let scalar) = steps[step], scalar.contains(scalars[position]) else { return nil }
        return step + 1
      }
    }
    if scalars.isEmpty || scalars.last == "." { current.append(0) }
    return reachable(from: current, position: scalars.count, count: scalars.count).contains(steps.count)
  }

  /// The steps that can be next without taking a scalar. Behind the last one, the expression is through.
  private func reachable(from begin: [Int], position: Int, count: Int) -> [Int] {
    var (open, found) = (begin, [Int]())
    var isFound = Array(repeating: false, count: steps.count + 1)
    while let step = open.popLast() {
      guard !isFound[step] else { continue }
      isFound[step] = true
      found.append(step)
      guard step < steps.count else { continue }
      switch steps[step] {
      case .scalar: continue
      case .start: if position == 0 { open.append(step + 1) }
      case .end: if position == count { open.append(step + 1) }
      case .jump(let target): open.append(target)
      case .split(let first, let second): open += [first, second]
      }
    }
    return found
  }
}

/// Scalars that one place of an expression takes.
private struct ScalarClass {
  var ranges: [ClosedRange<Unicode.Scalar>]
  var isNegated = false

  func contains(_ scalar: Unicode.Scalar) -> Bool { ranges.contains { $0.contains(scalar) } != isNegated }

  static let any = ScalarClass(ranges: ["\n"..."\n"], isNegated: true)
  static let digits: [ClosedRange<Unicode.Scalar>] = ["0"..."9"]
  static let letters: [ClosedRange<Unicode.Scalar>] = ["A"..."Z", "a"..."z"]
  static let word: [ClosedRange<Unicode.Scalar>] = digits + letters + ["_"..."_"]
}

private indirect enum PatternNode {
  case scalar(ScalarClass)
  case start
  case end
  case sequence([PatternNode])
  case choice(PatternNode, PatternNode)
  case repetition(PatternNode, least: Int, most: Int?)
}

/// Reads an expression; nil where it is malformed or of a kind that is not read.
private struct PatternParser {
  private let text: [Unicode.Scalar]
  private var position = 0

  init(_ expression: String) { text = Array(expression.unicodeScalars) }

  var isAtEnd: Bool { position == text.count }

  private var peek: Unicode.Scalar? { isAtEnd ? nil : text[position] }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard peek == scalar else { return false }
    position += 1
    return true
  }

  private mutating func next() -> Unicode.Scalar? {
    defer { if !isAtEnd { position += 1 } }
    return peek
  }

  mutating func expression() -> PatternNode? {
    var nodes: [PatternNode] = []
    while let scalar = peek, scalar != "|", scalar != ")" {
      guard let node = repeated() else { return nil }
      nodes.append(node)
    }
    guard take("|") else { return .sequence(nodes) }
    return expression().map { .choice(.sequence(nodes), $0) }
  }

  private mutating func repeated() -> PatternNode? {
    guard let node = single() else { return nil }
    let bounds: (Int, Int?)?
    switch peek {
    case "*": bounds = (0, nil)
    case "+": bounds = (1, nil)
    case "?": bounds = (0, 1)
    case "{": bounds = counts()
    default: return node
    }
    position += 1
    // For a whole match it is the same whether the shortest way comes first. Possessive repetitions are none of re before 3.11.
    _ = take("?")
    guard let (least, most) = bounds, most ?? least >= least, !["*", "+", "?", "{"].contains(peek) else { return nil }
    return .repetition(node, least: least, most: most)
  }

  /// `{2}`, `{2,}` or `{2,3}`, up to the last brace.
  private mutating func counts() -> (Int, Int?)? {
    guard let end = text[position...].firstIndex(of: "}") else { return nil }
    let numbers = text[(position + 1)..<end].split(separator: ",", omittingEmptySubsequences: false).map { digits in
      String(String.UnicodeScalarView(digits))
    }
    position = end
    guard (1...2).contains(numbers.count), let least = UInt16(numbers[0]) else { return nil }
    if numbers.count == 1 { return (Int(least), Int(least)) }
    if numbers[1].isEmpty { return (Int(least), nil) }
    return UInt16(numbers[1]).map { (Int(least), Int($0)) }
  }

  private mutating func single() -> PatternNode? {
    switch next() {
    case nil, "*", "+", "?", "{", "]", "}": return nil
    case "^": return .start
    case "$": return .end
    case ".": return .scalar(.any)
    case "[": return set().map(PatternNode.scalar)
    case "\\": return escaped().map(PatternNode.scalar)
    case "(":
      if take("?"), !take(":") { return nil }
      guard let node = expression(), take(")") else { return nil }
      return node
    case let scalar?: return .scalar(ScalarClass(ranges: [scalar...scalar]))
    }
  }

  /// What follows a backslash.
  private mutating func escaped() -> ScalarClass? {
    switch next() {
    case nil: return nil
    case "d": return ScalarClass(ranges: ScalarClass.digits)
    case "D": return ScalarClass(ranges: ScalarClass.digits, isNegated: true)
    case "w": return ScalarClass(ranges: ScalarClass.word)
    case "W": return ScalarClass(ranges: ScalarClass.word, isNegated: true)
    case let scalar?:
      // Other letters and digits after a backslash have meanings that are not read.
      let hasMeaning = ScalarClass(ranges: ScalarClass.digits + ScalarClass.letters).contains(scalar)
      return hasMeaning ? nil : ScalarClass(ranges: [scalar...scalar])
    }
  }

  /// What stands between brackets.
  private mutating func set() -> ScalarClass? {
    var set = ScalarClass(ranges: [], isNegated: take("^"))
    while let scalar = next() {
      if scalar == "]" { return set.ranges.isEmpty ? nil : set }
      if scalar == "\\" {
        guard let escaped = escaped(), !escaped.isNegated else { return nil }
        set.ranges += escaped.ranges
      } else if position + 1 < text.count, text[position] == "-", text[position + 1] != "]" {
        let last = text[position + 1]
        guard scalar <= last, last != "\\" else { return nil }
        set.ranges.append(scalar...last)
        position += 2
      } else {
        set.ranges.append(scalar...scalar)
      }
    }
    return nil
  }
}
