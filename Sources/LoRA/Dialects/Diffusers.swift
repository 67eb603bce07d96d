internal import Foundation
public import OrderedCollections

/// diffusers with peft (0.26 and later): `unet.down_blocks.1.….attn1.to_q.lora_A.weight`.
///
/// Alphas stand in the metadata entry `lora_adapter_metadata`, the JSON of one peft LoraConfig a component with keys such as
/// `unet.lora_alpha` (diffusers: loaders/lora_base.py pack_lora_weights). Where nothing is said, alpha is the rank.
public struct DiffusersDialect: Dialect {
  public let name = "diffusers"
  public let summary = "diffusers with peft: unet.<layer>.lora_A.weight, .lora_B.weight, alphas in the metadata"
  public let writesAlphaTensors = false

  public init() {}

  public func parse(_ key: String) -> AdapterKey? {
    guard Component(of: key) != nil, let part = Self.parts.first(where: { key.hasSuffix($0.suffix) }) else { return nil }
    return AdapterKey(String(key.dropLast(part.suffix.count)), part.part)
  }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String {
    stem + Self.parts.first { $0.part == part }!.suffix
  }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    var spellings: OrderedDictionary<String, [String]> = [:]
    for component in Component.allCases {
      for module in base.modules(of: component) {
        let names = component == .unet ? [module] : ModuleNames.textEncoderNames(module)
        spellings[component.path(module)] = names.map(component.path)
      }
    }
    return spellings
  }

  public func alphas(in metadata: OrderedDictionary<String, String>) throws -> any AlphaSource {
    guard let text = metadata[Self.metadataKey] else { return NoAlphas() }
    return try PEFTAlphas(text)
  }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws -> OrderedDictionary<String, String> {
    var fields: [String: JSONField] = [:]
    for component in Component.allCases {
      let members = layers.filter { Component(of: $0.key) == component }
      guard let rank = mostCommon(members.values.map(\.rank)), let alpha = mostCommon(members.values.map(\.alpha)) else {
        continue
      }
      // peft takes endings of paths, and without text_model they fit text encoders of all versions.
      let modules = members.map { stem, factors in
        (ModuleNames.textEncoderNames(String(stem.dropFirst(component.rawValue.count + 1))).last!, factors)
      }
      fields[component.path("r")] = .number(Double(rank))
      fields[component.path("lora_alpha")] = .number(alpha)
      fields[component.path("rank_pattern")] = .object(
        modules.filter { $0.1.rank != rank }.reduce(into: [:]) { $0[$1.0] = .number(Double($1.1.rank)) })
      fields[component.path("alpha_pattern")] = .object(
        modules.filter { $0.1.alpha != alpha }.reduce(into: [:]) { $0[$1.0] = .number($1.1.alpha) })
      fields[component.path("target_modules")] = .array(modules.map { .string($0.0) })
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return [Self.metadataKey: String(decoding: try encoder.encode(fields), as: UTF8.self), "format": "pt"]
  }

  static let metadataKey = "lora_adapter_metadata"

  private static let parts: [(part: AdapterKey.Part, suffix: String)] = [
    (.down, ".lora_A.weight"), (.up, ".lora_B.weight"), (.alpha, ".alpha"),
  ]
}

/// Alphas as peft computes them from a LoraConfig (peft: tuners/lora/model.py and utils/other.py get_pattern_key).
private struct PEFTAlphas: AlphaSource {
  private struct Config {
    let alpha: Double?
    let patterns: [(pattern: Pattern, alpha: Double)]
    let usesRootOfRank: Bool
  }

  /// A module path or its ending; peft also takes regular expressions.
  private enum Pattern {
    case ending(String)
    case expression(Regex<AnyRegexOutput>)

    func matches(_ module: String) -> Bool {
      switch self {
      case .ending(let ending): module == ending || module.hasSuffix(".\(ending)")
      case .expression(let expression): module.wholeMatch(of: expression) != nil
      }
    }
  }

  private let configs: OrderedDictionary<Component, Config>

  init(_ text: String) throws {
    let key = DiffusersDialect.metadataKey
    let fields: [String: JSONField]
    do {
      fields = try JSONDecoder().decode([String: JSONField].self, from: Data(text.utf8))
    } catch {
      throw MetadataError(key: key, problem: "is not a JSON object")
    }
    configs = try Component.allCases.reduce(into: [:]) { configs, component in
      func field(_ name: String) -> JSONField? { fields[component.path(name)] }
      if case .bool(true) = field("use_dora") {
        throw MetadataError(key: key, problem: "asks for DoRA (\(component.path("use_dora"))), which is not supported")
      }
      var patterns: [(Pattern, Double)] = []
      if case .object(let entries)? = field("alpha_pattern") {
        for (name, value) in entries.sorted(by: { $0.key < $1.key }) {
          guard case .number(let alpha) = value else {
            throw MetadataError(key: key, problem: "has no number for \(component.path("alpha_pattern")) \(name)")
          }
          patterns.append((try Self.pattern(name), alpha))
        }
      }
      let alpha: Double? = if case .number(let alpha)? = field("lora_alpha") { alpha } else { nil }
      let usesRoot = if case .bool(true)? = field("use_rslora") { true } else { false }
      configs[component] = Config(alpha: alpha, patterns: patterns, usesRootOfRank: usesRoot)
    }
  }

  private static func pattern(_ text: String) throws -> Pattern {
    // diffusers anchors a full path with ^, which for a full path means the same as an ending.
    let plain = text.hasPrefix("^") ? String(text.dropFirst()) : text
    if plain.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }) { return .ending(plain) }
    do {
      return .expression(try Regex("(.*\\.)?(\(text))"))
    } catch {
      throw MetadataError(
        key: DiffusersDialect.metadataKey, problem: "has an alpha_pattern that is no regular expression: \(text)")
    }
  }

  func alpha(of stem: String, rank: Int) -> Double? {
    guard let component = Component(of: stem), let config = configs[component] else { return nil }
    let module = String(stem.dropFirst(component.rawValue.count + 1))
    guard let alpha = config.patterns.first(where: { $0.pattern.matches(module) })?.alpha ?? config.alpha else { return nil }
    // rsLoRA divides by the root of the rank, and everything here by the rank.
    return config.usesRootOfRank ? alpha * Double(rank).squareRoot() : alpha
  }
}

/// A JSON value.
private enum JSONField: Codable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONField])
  case object([String: JSONField])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONField].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONField].self))
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
    case .object(let value): try container.encode(value)
    }
  }
}
