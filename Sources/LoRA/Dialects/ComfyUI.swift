internal import LayerNames
public import OrderedCollections

/// ComfyUI's own names (ComfyUI: comfy/lora.py model_lora_keys_unet): `diffusion_model.` and the original checkpoint's path for
/// the U-Net, `text_encoders.clip_l.transformer.` and transformers' path for text encoders.
public struct ComfyUIDialect: Dialect {
  public let name = "comfyui"
  public let summary = "ComfyUI's LoRA nodes: diffusion_model.<layer>.lora_down.weight or .lora_A.weight"
  public let writesAlphaTensors = true

  public init() {}

  public func parse(_ key: String) -> AdapterKey? { isOfModel(key) ? Self.suffixes.parse(key) : nil }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { Self.suffixes.key(stem, part) }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    let original = OriginalUNetNames(base.modules(of: .unet))
    return base.spellings { component, module in
      switch component {
      case .unet: [original[module], module].compactMap { $0.map { "\(Self.unet)\($0)" } }
      case .textEncoder: ["clip_l", "clip_h"].map { "\(Self.text)\($0).transformer.\(module)" }
      case .textEncoder2: ["\(Self.text)clip_g.transformer.\(module)"]
      }
    }
  }

  /// As it is: the alphas are tensors.
  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> { layers }

  private static let (unet, text) = ("diffusion_model.", "text_encoders.")

  private static let suffixes = KeySuffixes(
    [(.down, ".lora_down.weight"), (.up, ".lora_up.weight"), (.down, ".lora_A.weight"), (.up, ".lora_B.weight")],
    common: LayerForms.partsOfNoCheckpoint)

  private func isOfModel(_ key: String) -> Bool { key.hasPrefix(Self.unet) || key.hasPrefix(Self.text) }
}
