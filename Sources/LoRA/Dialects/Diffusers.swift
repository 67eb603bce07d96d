public import OrderedCollections

/// diffusers with peft (0.26 and later): `unet.down_blocks.1.….attn1.to_q.lora_A.weight`. Its own training scripts call layers
/// of attention as before (`OldDiffusersDialect`).
///
/// Alphas stand in the metadata entry `lora_adapter_metadata`, the JSON of one peft LoraConfig a component with keys such as
/// `unet.lora_alpha` (diffusers: loaders/lora_base.py pack_lora_weights). Where nothing is said, alpha is the rank, and so it is in
/// files written here: diffusers before June 2025 (its pull request 11324), `load_lora_adapter` and ComfyUI do not look there.
public struct DiffusersDialect: Dialect {
  public let name = "diffusers"
  public let summary = "diffusers with peft: unet.<layer>.lora_A.weight, .lora_B.weight, alphas in the metadata"
  public let isWritten = true

  public init() {}

  public func parse(_ key: String) -> AdapterKey? { Component(of: key) == nil ? nil : Self.suffixes.parse(key) }

  public func claims(_ key: String) -> Bool { Component(of: key) != nil && Self.suffixes.owns(key) }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { Self.suffixes.key(stem, part) }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    base.spellings { component, module in [component.path(module)] }
  }

  public func alphas(in metadata: OrderedDictionary<String, String>) throws(MetadataError) -> any AlphaSource {
    let stated = try Self.alphas(in: metadata) { stem in
      Component(of: stem).map { ($0, String(stem.dropFirst($0.rawValue.count + 1))) }
    }
    return stated
      ?? NoAlphas(remark: "there is no \(Self.metadataKey) that says the alphas; they are taken to be the ranks")
  }

  /// What the metadata says; nil where it says nothing.
  ///
  /// - Parameter place: the module that a stem names, as peft calls it.
  static func alphas(
    in metadata: OrderedDictionary<String, String>, place: @escaping (_ stem: String) -> ModulePlace?
  ) throws(MetadataError) -> (any AlphaSource)? {
    guard let text = metadata[metadataKey] else { return nil }
    let fields = try JSONField.object(text, key: metadataKey)
    var configurations: OrderedDictionary<Component, PEFTConfiguration> = [:]
    for component in Component.allCases {
      configurations[component] = try PEFTConfiguration(fields, key: metadataKey, prefix: component.path(""))
    }
    return ComponentAlphas(configurations: configurations, place: place)
  }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String> {
    var fields: OrderedDictionary<String, JSONField> = [:]
    for component in Component.allCases {
      let members = layers.filter { Component(of: $0.key) == component }
      // peft takes endings of paths, and without text_model they fit text encoders of all versions.
      let modules = members.map { stem, factors in
        (ModuleNames.textEncoderNames(String(stem.dropFirst(component.rawValue.count + 1))).last!, factors)
      }
      for (name, field) in PEFTConfiguration.fields(of: modules) { fields[component.path(name)] = field }
    }
    return [Self.metadataKey: JSONField.object(fields).text, "format": "pt"]
  }

  static let metadataKey = "lora_adapter_metadata"

  static let suffixes = KeySuffixes(
    [
      (.down, ".lora_A.weight"), (.up, ".lora_B.weight"), (Magnitude.vector, ".lora_magnitude_vector"),
      // A module in memory has the adapter's name in its keys, and diffusers a `.weight` behind magnitudes.
      (.down, ".lora_A.default.weight"), (.up, ".lora_B.default.weight"),
      (Magnitude.vector, ".lora_magnitude_vector.weight"), (Magnitude.vector, ".lora_magnitude_vector.default.weight"),
      (LayerForms.bias, ".lora_B.bias"), (LayerForms.bias, ".lora_B.default.bias"),
    ], common: [.alpha, Magnitude.scale])
}

/// A module of a component, by its path there.
typealias ModulePlace = (component: Component, module: String)

/// The alphas of a file with a configuration for each component.
private struct ComponentAlphas: AlphaSource {
  let configurations: OrderedDictionary<Component, PEFTConfiguration>
  let place: (_ stem: String) -> ModulePlace?

  func alpha(of stem: String, rank: Int) -> Double? {
    configuration(of: stem).flatMap { $0.alpha(of: $1, rank: rank) }
  }

  func hasMagnitude(_ stem: String) -> Bool { configuration(of: stem)?.0.usesDoRA ?? false }

  private func configuration(of stem: String) -> (PEFTConfiguration, module: String)? {
    guard let place = place(stem), let configuration = configurations[place.component] else { return nil }
    return (configuration, place.module)
  }
}
