internal import LayerNames
public import OrderedCollections

/// The Open Model Initiative's names, which OneTrainer can write (OneTrainer: modules/util/convert/lora/convert_sdxl_lora.py and
/// convert_sd_lora.py): `unet.` and the original checkpoint's path for the U-Net, `clip_l.` and `clip_g.` and transformers' path
/// for text encoders, with kohya's names of tensors.
public struct OMIDialect: Dialect {
  public let name = "omi"
  public let summary = "OneTrainer's OMI format: unet.<original layer>.lora_down.weight, clip_l.<layer>.lora_down.weight, .alpha"
  public let writesAlphaTensors = true

  public init() {}

  public func parse(_ key: String) -> AdapterKey? {
    Self.prefixes.contains(where: key.hasPrefix) ? Self.suffixes.parse(key) : nil
  }

  /// Alphas and magnitudes are called alike in diffusers' files.
  public func claims(_ key: String) -> Bool {
    parse(key).map { ![.alpha, Magnitude.scale, Magnitude.vector].contains($0.part) } ?? false
  }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { Self.suffixes.key(stem, part) }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    let original = OriginalUNetNames(base.modules(of: .unet))
    return base.spellings { component, module in
      switch component {
      case .unet: Self.names(original[module] ?? module).map { "unet.\($0)" }
      case .textEncoder: ["clip_l.\(module)"]
      case .textEncoder2: ["clip_g.\(module)"]
      }
    }
  }

  /// OneTrainer calls an upsampler of a stage without attentions as one of a stage with them (`2.2.conv`, for Stable Diffusion's
  /// `2.1.conv`).
  private static func names(_ layer: String) -> [String] {
    let (own, other) = (".1.conv", ".2.conv")
    return layer.hasPrefix("output_blocks.") && layer.hasSuffix(own) ? [layer, layer.dropLast(own.count) + other] : [layer]
  }

  /// As it is: the alphas are tensors.
  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> { layers }

  private static let prefixes = ["unet.", "clip_l.", "clip_g."]

  private static let suffixes = KeySuffixes([], common: LayerForms.partsOfNoCheckpoint)
}
