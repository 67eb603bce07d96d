internal import LayerNames
public import OrderedCollections

/// kohya's sd-scripts (networks/lora.py), and with it A1111, Forge, ComfyUI and most shared files:
/// `lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight`.
///
/// For SDXL, UNet blocks go by the original checkpoint's names (input_blocks, …), for SD 1.x and 2.x by those of diffusers
/// (`lora_unet_down_blocks_0_attentions_0_…`). Some trainers write diffusers' names for SDXL, too; a model's layers are
/// known under both. Text encoders are `lora_te_…`, or `lora_te1_…` and `lora_te2_…` where there are two.
public struct KohyaDialect: Dialect {
  public let name = "kohya"
  public let summary = "kohya sd-scripts, A1111, ComfyUI: lora_unet_<layer>.lora_down.weight, .lora_up.weight, .alpha"
  public let writesAlphaTensors = true

  public init() {}

  public func parse(_ key: String) -> AdapterKey? {
    guard let dot = key.firstIndex(of: "."), let part = Self.parts.first(where: { key[dot...] == $0.suffix }) else {
      return nil
    }
    let stem = String(key[..<dot])
    return Self.prefixes.contains(where: stem.hasPrefix) ? AdapterKey(stem, part.part) : nil
  }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String {
    stem + Self.parts.first { $0.part == part }!.suffix
  }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    let original = OriginalUNetNames(base.modules(of: .unet))
    let writesOriginal = base.isStableDiffusionXL
    var spellings: OrderedDictionary<String, [String]> = [:]
    for component in Component.allCases {
      let prefix = Self.prefix(of: component, in: base)
      for module in base.modules(of: component) {
        let names =
          component == .unet
          ? [writesOriginal ? original[module] : nil, module, original[module]].compactMap { $0 }
          : ModuleNames.textEncoderNames(module)
        spellings[component.path(module)] = Array(OrderedSet(names.map { prefix + Self.flat($0) }))
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

  private static let parts: [(part: AdapterKey.Part, suffix: String)] = [
    (.down, ".lora_down.weight"), (.up, ".lora_up.weight"), (.alpha, ".alpha"),
  ]

  private static let prefixes = ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_"]

  private static func prefix(of component: Component, in base: ModuleNames) -> String {
    switch component {
    case .unet: "lora_unet_"
    case .textEncoder: base.has(.textEncoder2) ? "lora_te1_" : "lora_te_"
    case .textEncoder2: "lora_te2_"
    }
  }

  private static func flat(_ path: String) -> String { String(path.map { $0 == "." ? "_" : $0 }) }
}
