internal import LayerNames
public import OrderedCollections

/// kohya's sd-scripts (networks/lora.py), and with it A1111, Forge, ComfyUI and most shared files:
/// `lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight`; and LyCORIS' own prefix, `lycoris_…`.
///
/// For SDXL, UNet blocks go by the original checkpoint's names (input_blocks, …), for SD 1.x and 2.x by those of diffusers
/// (`lora_unet_down_blocks_0_attentions_0_…`). Some trainers write diffusers' names for SDXL, too; a model's layers are
/// known under both. Text encoders are `lora_te_…`, or `lora_te1_…` and `lora_te2_…` where there are two.
public struct KohyaDialect: Dialect {
  public static let kohya = KohyaDialect(
    name: "kohya", summary: "kohya sd-scripts, A1111, ComfyUI: lora_unet_<layer>.lora_down.weight, .lora_up.weight, .alpha",
    isWritten: true, prefixes: [.unet: ["lora_unet_"], .textEncoder: ["lora_te1_", "lora_te_"], .textEncoder2: ["lora_te2_"]],
    unread: "oft_unet_")

  /// One prefix for all models, so that text encoders are told apart by the shapes of their layers (LyCORIS: wrapper.py,
  /// SimpleTuner, ComfyUI).
  public static let lycoris = KohyaDialect(
    name: "lycoris", summary: "LyCORIS' wrapper: lycoris_<layer>.lora_down.weight, .hada_w1_a, .lokr_w1, .alpha",
    isWritten: false,
    prefixes: [.unet: ["lycoris_"], .textEncoder: ["lycoris_"], .textEncoder2: ["lycoris_"]], unread: nil)

  public let name: String
  public let summary: String
  public let isWritten: Bool
  public let writesAlphaTensors = true
  private let prefixes: OrderedDictionary<Component, [String]>
  /// What sd-scripts' networks/oft.py begins its names with, so that the message can call that form by name.
  private let unread: String?

  public func parse(_ key: String) -> AdapterKey? {
    let isOfModel = prefixes.values.contains { $0.contains(where: key.hasPrefix) } || unread.map(key.hasPrefix) == true
    guard isOfModel, let dot = key.firstIndex(of: "."), let part = Self.parts[String(key[dot...].dropFirst())]
    else { return nil }
    return AdapterKey(String(key[..<dot]), part)
  }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { "\(stem).\(part)" }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    let original = OriginalUNetNames(base.modules(of: .unet))
    let writesOriginal = isWritten && base.isStableDiffusionXL
    var spellings: OrderedDictionary<String, [String]> = [:]
    for component in Component.allCases {
      let prefixes = prefixes(of: component, in: base)
      for module in base.modules(of: component) {
        let names =
          component == .unet
          ? [writesOriginal ? original[module] : nil, module, original[module]].compactMap { $0 }
          : ModuleNames.textEncoderNames(module)
        spellings[component.path(module)] = Array(
          OrderedSet(prefixes.flatMap { prefix in names.map { prefix + Self.flat($0) } }))
      }
    }
    return spellings
  }

  /// One alpha for all layers, that of most of them. diffusers (0.42.1: loaders/lora_conversion_utils.py) loses alphas that
  /// differ within a kohya file, and to sd-scripts an alpha of 0 means the rank.
  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> {
    let alpha = mostCommon(layers.values.map(\.alpha).filter { $0 > 0 }) ?? 1
    return layers.mapValues { $0.restated(alpha: alpha) }
  }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String> { [:] }

  private static let parts = Dictionary(uniqueKeysWithValues: LayerForms.parts.map { ($0.name, $0) })

  /// A single text encoder is `lora_te_`, the first of two `lora_te1_`; both are read.
  private func prefixes(of component: Component, in base: ModuleNames) -> [String] {
    let prefixes = prefixes[component] ?? []
    return component == .textEncoder && !base.has(.textEncoder2) ? prefixes.reversed() : prefixes
  }

  private static func flat(_ path: String) -> String { String(path.map { $0 == "." ? "_" : $0 }) }
}
