public import OrderedCollections

/// peft's own files (peft: utils/save_and_load.py): `base_model.model.down_blocks.1.….to_q.lora_A.weight`, with alphas in
/// `adapter_config.json` beside them, and its LoHa and LoKr, whose tensors are called as LyCORIS' are; also the keys of a module
/// with injected layers, which have no prefix. diffusers' `save_lora_adapter` writes those, and the same configuration into the
/// metadata (diffusers: loaders/peft.py).
///
/// A file is of one model and does not say which, so layers of text encoders are told apart by their shapes.
public struct PEFTDialect: Dialect {
  public let name = "peft"
  public let summary = "peft's save_pretrained: base_model.model.<layer>.lora_A.weight, .lora_B.weight, adapter_config.json"
  public let isWritten = true
  public let fileName: String? = "adapter_model.safetensors"
  public let companion: String? = Self.configurationFile

  public init() {}

  public func parse(_ key: String) -> AdapterKey? { isOfModel(key) ? Self.suffixes.parse(key) : nil }

  public func claims(_ key: String) -> Bool { isOfModel(key) && Self.suffixes.owns(key) }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { Self.suffixes.key(stem, part) }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    var spellings = base.spellings { _, module in [Self.prefix + module, module] }
    for (path, stems) in spellings where Component(of: path) == .textEncoder {
      // PEFT finds layers by their whole names. transformers 5 has no text_model in CLIPTextModel, which is the first text
      // encoder, and still has it in CLIPTextModelWithProjection, the second.
      spellings[path] = stems.filter { !$0.contains("text_model.") } + stems.filter { $0.contains("text_model.") }
    }
    return spellings
  }

  public func alphas(in metadata: OrderedDictionary<String, String>) throws(MetadataError) -> any AlphaSource {
    for key in [Self.configurationFile, DiffusersDialect.metadataKey] {
      guard let text = metadata[key] else { continue }
      return ModuleAlphas(configuration: try PEFTConfiguration(try JSONField.object(text, key: key), key: key))
    }
    return NoAlphas(
      remark: "there is no \(Self.configurationFile) beside the file that says the alphas; they are taken to be the ranks")
  }

  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> { layers }

  /// A file is of one model: a name of the one text encoder is the ending of one of the other, which its alphas would reach.
  public func check(_ stems: [String]) throws(MetadataError) {
    let models = OrderedSet(stems.map { Self.model(of: Self.module($0)) })
    guard models.count <= 1 else {
      throw MetadataError(
        key: Self.configurationFile,
        problem: "is of one model, but the layers are of \(models.joined(separator: " and ")); "
          + "write the dialect diffusers instead")
    }
  }

  private static func model(of module: String) -> String {
    if module.hasPrefix("text_model.") || module.hasPrefix("text_projection") { return "the second text encoder" }
    return module.hasPrefix("encoder.layers.") ? "the first text encoder" : "the U-Net"
  }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String> {
    let modules = layers.map { stem, factors in (name: Self.module(stem), factors) }
    let fixed: OrderedDictionary<String, JSONField> = [
      "peft_type": .string("LORA"), "bias": .string("none"), "lora_dropout": .number(0),
    ]
    let fields = fixed.merging(PEFTConfiguration.fields(of: modules)) { $1 }
    return [Self.configurationFile: JSONField.object(fields).text, "format": "pt"]
  }

  private static let prefix = "base_model.model."
  static let configurationFile = "adapter_config.json"

  private static let suffixes = KeySuffixes(
    DiffusersDialect.suffixes.own + (HadamardForm.parts + KroneckerForm.parts).map { ($0, ".\($0)") },
    common: DiffusersDialect.suffixes.common + [LayerForms.bias])

  /// What a key without the prefix begins with.
  private static let roots = [
    "conv_in", "conv_out", "time_embedding", "add_embedding", "down_blocks", "mid_block", "up_blocks", "text_model", "encoder",
    "text_projection",
  ].map { "\($0)." }

  private func isOfModel(_ key: String) -> Bool { key.hasPrefix(Self.prefix) || Self.roots.contains(where: key.hasPrefix) }

  static func module(_ stem: String) -> String {
    stem.hasPrefix(prefix) ? String(stem.dropFirst(prefix.count)) : stem
  }
}

/// The alphas of a file with one configuration.
private struct ModuleAlphas: AlphaSource {
  let configuration: PEFTConfiguration

  func alpha(of stem: String, rank: Int) -> Double? { configuration.alpha(of: PEFTDialect.module(stem), rank: rank) }

  func scale(of stem: String) -> Double? { configuration.scale(of: PEFTDialect.module(stem)) }

  func hasMagnitude(_ stem: String) -> Bool { configuration.usesDoRA }
}
