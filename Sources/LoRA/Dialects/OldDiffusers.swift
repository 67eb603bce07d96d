public import OrderedCollections

/// diffusers before 0.26 and its training scripts to this day (diffusers: utils/state_dict_utils.py
/// convert_state_dict_to_diffusers), whose versions mixed their own spellings in one file:
///
/// - `unet.….attn1.processor.to_q_lora.down.weight` and `text_encoder.….self_attn.to_q_lora.down.weight`, the oldest, for the
///   U-Net alone without `unet.`;
/// - `unet.….attn1.to_q.lora.down.weight`, at one time as `unet.unet.…`;
/// - `text_encoder.….q_proj.lora_linear_layer.down.weight`;
/// - since 0.26, for layers that are no attention and for magnitudes, the names of `DiffusersDialect`.
///
/// Alphas stand where `DiffusersDialect` has them; before 2025 nothing was said, and alpha is the rank.
public struct OldDiffusersDialect: Dialect {
  public let name = "diffusers-old"
  public let summary =
    "diffusers before 0.26 and its training scripts: unet.<layer>.lora.down.weight, <attention>.processor.to_q_lora.down.weight"

  public init() {}

  public func parse(_ key: String) -> AdapterKey? {
    isOfModel(key) ? Self.suffixes.parse(key) ?? DiffusersDialect.suffixes.parse(key) : nil
  }

  public func claims(_ key: String) -> Bool { isOfModel(key) && Self.suffixes.owns(key) }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String {
    guard part == .down || part == .up else { return DiffusersDialect.suffixes.key(stem, part) }
    let own = Self.suffixes.own.filter { $0.part == part }
    // The spellings in the order of `suffixes`.
    let spelling = stem.contains(".processor.") ? 2 : ModuleKind(of: stem) == .textEncoder ? 1 : 0
    return stem + own[spelling].suffix
  }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    base.spellings { component, module in
      let names = [module] + Self.attentionNames(module)
      let prefixes = component == .unet ? ["unet.", "unet.unet.", ""] : [component.path("")]
      return prefixes.flatMap { prefix in names.map { prefix + $0 } }
    }
  }

  public func alphas(in metadata: OrderedDictionary<String, String>) throws(MetadataError) -> any AlphaSource {
    try DiffusersDialect.alphas(in: metadata, place: Self.place) ?? NoAlphas()
  }

  /// Layers of attention: in the U-Net, in text encoders, and what the oldest versions call both.
  private static let attention = [
    (unet: ".to_q", text: ".q_proj", oldest: ".to_q"), (unet: ".to_k", text: ".k_proj", oldest: ".to_k"),
    (unet: ".to_v", text: ".v_proj", oldest: ".to_v"), (unet: ".to_out.0", text: ".out_proj", oldest: ".to_out"),
  ]

  /// How the oldest versions call a layer of attention: by processors, and by the U-Net's names in text encoders, too.
  private static func attentionNames(_ module: String) -> [String] {
    for (unet, text, oldest) in attention {
      guard let path = [unet, text].first(where: module.hasSuffix) else { continue }
      return [".processor", ""].map { "\(module.dropLast(path.count))\($0)\(oldest)" }
    }
    return []
  }

  /// The inverse of `spellings`, without a base.
  private static func place(_ stem: String) -> ModulePlace {
    let component = Component(of: stem) ?? .unet
    var module = stem.replacing(".processor.", with: ".")
    while module.hasPrefix(component.path("")) { module.removeFirst(component.path("").count) }
    guard let names = attention.first(where: { module.hasSuffix($0.oldest) }) else { return (component, module) }
    return (component, module.dropLast(names.oldest.count) + (component == .unet ? names.unet : names.text))
  }

  private static let suffixes = KeySuffixes(
    [
      (.down, ".lora.down.weight"), (.up, ".lora.up.weight"),
      (.down, ".lora_linear_layer.down.weight"), (.up, ".lora_linear_layer.up.weight"),
      (.down, "_lora.down.weight"), (.up, "_lora.up.weight"),
      (LayerForms.bias, ".lora.up.bias"), (LayerForms.bias, ".lora_linear_layer.up.bias"),
    ], common: [])

  /// Without a prefix, keys can only begin with a block of the U-Net.
  private func isOfModel(_ key: String) -> Bool {
    Component(of: key) != nil || ["down_blocks.", "mid_block.", "up_blocks."].contains(where: key.hasPrefix)
  }
}
