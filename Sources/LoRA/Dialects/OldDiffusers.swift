public import OrderedCollections

/// diffusers before 0.26 (diffusers: utils/state_dict_utils.py), whose versions mixed their own spellings in one file:
///
/// - `unet.….attn1.processor.to_q_lora.down.weight` and `text_encoder.….self_attn.to_q_lora.down.weight`, the oldest, for the
///   U-Net alone without `unet.`;
/// - `unet.….attn1.to_q.lora.down.weight`, at one time as `unet.unet.…`;
/// - `text_encoder.….q_proj.lora_linear_layer.down.weight`.
///
/// Alpha is the rank unless there is a tensor that says otherwise.
public struct OldDiffusersDialect: Dialect {
  public let name = "diffusers-old"
  public let summary = "diffusers before 0.26: unet.<layer>.lora.down.weight, <attention>.processor.to_q_lora.down.weight"

  public init() {}

  public func parse(_ key: String) -> AdapterKey? { isOfModel(key) ? Self.suffixes.parse(key) : nil }

  public func claims(_ key: String) -> Bool { isOfModel(key) && Self.suffixes.owns(key) }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String {
    let own = Self.suffixes.own.filter { $0.part == part }
    guard !own.isEmpty else { return Self.suffixes.key(stem, part) }
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

  /// How the oldest versions call a layer of attention: by processors, and by the U-Net's names in text encoders, too.
  private static func attentionNames(_ module: String) -> [String] {
    for (path, name) in [
      (".to_q", "to_q"), (".to_k", "to_k"), (".to_v", "to_v"), (".to_out.0", "to_out"),
      (".q_proj", "to_q"), (".k_proj", "to_k"), (".v_proj", "to_v"), (".out_proj", "to_out"),
    ] where module.hasSuffix(path) {
      let attention = module.dropLast(path.count)
      return ["\(attention).processor.\(name)", "\(attention).\(name)"]
    }
    return []
  }

  private static let suffixes = KeySuffixes(
    [
      (.down, ".lora.down.weight"), (.up, ".lora.up.weight"),
      (.down, ".lora_linear_layer.down.weight"), (.up, ".lora_linear_layer.up.weight"),
      (.down, "_lora.down.weight"), (.up, "_lora.up.weight"),
    ], common: [.alpha, Magnitude.scale])

  /// Without a prefix, keys can only begin with a block of the U-Net.
  private func isOfModel(_ key: String) -> Bool {
    Component(of: key) != nil || ["down_blocks.", "mid_block.", "up_blocks."].contains(where: key.hasPrefix)
  }
}
