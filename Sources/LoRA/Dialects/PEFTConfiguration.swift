internal import Foundation
internal import OrderedCollections
internal import SafeTensors

/// What a LoraConfig, LoHaConfig or LoKrConfig of peft says about alphas (peft: tuners/lora/config.py, tuners/loha/config.py,
/// tuners/lokr/config.py; tuners/lora/model.py and utils/other.py get_pattern_key).
struct PEFTConfiguration {
  /// A regular expression that a module path, or its ending behind a dot, must match.
  private enum Pattern {
    /// Without any sign of expressions but the dot, which stands for any character, and ^ at the beginning (`isWhole`). Files have
    /// one for each of hundreds of layers.
    case plain([Unicode.Scalar], isWhole: Bool)
    case expression(ModulePattern)

    init(_ text: String, of field: String, key: String) throws(MetadataError) {
      let plain = text.hasPrefix("^") ? text.dropFirst() : text[...]
      if plain.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }) {
        self = .plain(Array(plain.unicodeScalars), isWhole: plain.count < text.count)
      } else if let expression = ModulePattern(text) {
        self = .expression(expression)
      } else {
        throw MetadataError(
          key: key,
          problem: "has an entry of \(field) that is no regular expression: \(text)\n"
            + "(groups, choices, sets and repetitions are read, look-around and back-references are not)")
      }
    }

    func matches(_ module: String) -> Bool {
      // What stands behind ^ is the path in the model of its day, which may have begun with text_model or not.
      ModuleNames.textEncoderNames(module).contains { name in
        switch self {
        case .plain(let pattern, let isWhole): Self.isEnding(pattern, of: Array(name.unicodeScalars), isWhole: isWhole)
        case .expression(let expression): expression.matches(name)
        }
      }
    }

    private static func isEnding(_ pattern: [Unicode.Scalar], of module: [Unicode.Scalar], isWhole: Bool) -> Bool {
      let start = module.count - pattern.count
      guard start == 0 || start > 0 && !isWhole && module[start - 1] == "." else { return false }
      return zip(pattern, module[start...]).allSatisfy { $0 == "." || $0 == $1 }
    }
  }

  /// A number of all modules, but for those that a pattern fits. The first that fits counts, as peft goes through them.
  private struct Setting {
    /// Of a configuration that does not say it, be it an alpha or a rank.
    private static let standard = 8.0

    private let number: Double
    private let patterns: [(pattern: Pattern, number: Double)]

    /// - Parameters:
    ///   - name: of its field.
    ///   - patternName: of the field with the patterns.
    init(
      _ name: String, patterns patternName: String, in fields: OrderedDictionary<String, JSONField>, key: String
    ) throws(MetadataError) {
      var patterns: [(Pattern, Double)] = []
      if case .object(let entries)? = fields[patternName] {
        for (pattern, value) in entries {
          guard case .number(let number) = value, number.isFinite else {
            throw MetadataError(key: key, problem: "has no number for \(patternName) \(pattern)")
          }
          patterns.append((try Pattern(pattern, of: patternName, key: key), number))
        }
      }
      self.patterns = patterns
      switch fields[name] {
      case .number(let number)? where number.isFinite: self.number = number
      case nil, .null?: number = Self.standard
      default: throw MetadataError(key: key, problem: "has a \(name) that is no number")
      }
    }

    var numbers: [Double] { [number] + patterns.map(\.number) }

    subscript(module: String) -> Double { patterns.first { $0.pattern.matches(module) }?.number ?? number }
  }

  /// nil where there is no configuration.
  private let alpha: Setting?
  /// Where the rank cannot be seen from the tensors: of a LoHa or LoKr.
  private let rank: Setting?
  private let usesRootOfRank: Bool
  let usesDoRA: Bool

  /// - Parameters:
  ///   - key: where the fields come from, for messages.
  ///   - prefix: of the names of the fields, such as `unet.`.
  init(_ fields: OrderedDictionary<String, JSONField>, key: String, prefix: String = "") throws(MetadataError) {
    func isSet(_ name: String) -> Bool { if case .bool(true)? = fields[prefix + name] { true } else { false } }
    if case .string(let start)? = fields["\(prefix)init_lora_weights"], Self.changesBase(start) {
      throw MetadataError(
        key: key,
        problem: "has \(prefix)init_lora_weights \"\(start)\", which changed the base's weights before the training, so the "
          + "LoRA is none for the base as it is; save it again with peft's path_initial_model_for_weight_conversion")
    }
    let isLoRA = if case .string(let kind)? = fields["\(prefix)peft_type"] { !["LOHA", "LOKR"].contains(kind) } else { true }
    func setting(_ name: String, _ patterns: String) throws(MetadataError) -> Setting {
      try Setting(prefix + name, patterns: prefix + patterns, in: fields, key: key)
    }
    let isThere = fields.keys.contains { $0.hasPrefix(prefix) }
    alpha = isThere ? try setting(isLoRA ? "lora_alpha" : "alpha", "alpha_pattern") : nil
    rank = isThere && !isLoRA ? try setting("r", "rank_pattern") : nil
    if let found = rank?.numbers.first(where: { $0 < 1 }) {
      throw MetadataError(key: key, problem: "has the rank \(found) in r or rank_pattern, expected 1 or more")
    }
    usesRootOfRank = isSet("use_rslora")
    usesDoRA = isSet("use_dora")
  }

  /// Whether a LoRA that starts in this way takes from the weights what it adds at first (peft: tuners/lora/layer.py
  /// update_layer), as PiSSA does also as `pissa_niter_16`. The start is not in the file, so what it has learnt is not known.
  private static func changesBase(_ start: String) -> Bool {
    ["pissa", "corda", "olora", "loftq", "lora_ga"].contains { start.lowercased().hasPrefix($0) }
  }

  /// - Parameter module: without the name of a component.
  func alpha(of module: String, rank: Int) -> Double? {
    guard let alpha = alpha?[module] else { return nil }
    // rsLoRA divides by the root of the rank, and everything here by the rank.
    return usesRootOfRank ? alpha * Double(rank).squareRoot() : alpha
  }

  /// What a LoHa or LoKr of this module is multiplied by.
  func scale(of module: String) -> Double? {
    guard let alpha = alpha?[module], let rank = rank?[module] else { return nil }
    return alpha / rank
  }

  /// The fields that say the ranks and alphas of these modules; none for no modules.
  static func fields(of modules: [(name: String, factors: LowRankFactors)]) -> OrderedDictionary<String, JSONField> {
    guard let rank = mostCommon(modules.map(\.factors.rank)), let alpha = mostCommon(modules.map(\.factors.alpha)) else {
      return [:]
    }
    return [
      "r": .number(Double(rank)),
      "lora_alpha": .number(alpha),
      "rank_pattern": .object(
        modules.filter { $0.factors.rank != rank }.reduce(into: [:]) { $0[$1.name] = .number(Double($1.factors.rank)) }),
      "alpha_pattern": .object(
        modules.filter { $0.factors.alpha != alpha }.reduce(into: [:]) { $0[$1.name] = .number($1.factors.alpha) }),
      "target_modules": .array(modules.map { .string($0.name) }),
    ]
  }
}

/// A JSON value.
enum JSONField: Encodable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONField])
  case object(OrderedDictionary<String, JSONField>)

  /// The members of a JSON object, in order.
  ///
  /// - Parameter key: where the text comes from, for the message.
  static func object(_ text: String, key: String) throws(MetadataError) -> OrderedDictionary<String, JSONField> {
    guard let value = JSONValue(text: text), case .object(let fields) = JSONField(value) else {
      throw MetadataError(key: key, problem: "is not a JSON object")
    }
    return fields
  }

  /// The same for the same value.
  var text: String {
    // Numbers are finite and keys are texts, so nothing can fail.
    (try? JSONText.pretty(self)) ?? ""
  }

  init(_ value: JSONValue) {
    switch value {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    // What JSON calls a number, Swift does, too.
    case .number(let digits): self = .number(Double(digits)!)
    case .string(let value): self = .string(value)
    case .array(let values): self = .array(values.map(Self.init))
    case .object(let members): self = .object(members.mapValues(Self.init))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    // peft declares ranks as integers, and a JSON 4.0 would become a float there.
    case .number(let value) where Int(exactly: value) != nil: try container.encode(Int(value))
    case .number(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    // An ordered dictionary would become an array.
    case .object(let value): try container.encode(Dictionary(uniqueKeysWithValues: value.map { ($0.key, $0.value) }))
    }
  }
}
