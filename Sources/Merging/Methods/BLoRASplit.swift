internal import LoRA
internal import OrderedCollections

/// B-LoRA: of the subject only the block of SDXL that makes content, of the style only the one that makes style (arXiv
/// 2403.14572; yardenfren1996/B-LoRA: blora_utils.py):
///
///     ΔW = w_c ΔW_c in up_blocks.0.attentions.0,   w_s ΔW_s in up_blocks.0.attentions.1,   nothing elsewhere
///
/// The authors train LoRAs of these blocks alone; any two LoRAs can be cut down to them. Other layers are listed in the
/// report as dropped.
public struct BLoRASplit: MergeMethod {
  /// In diffusers' names and in the original checkpoint's, separators aside.
  private static let blocks = [
    ["up.blocks.0.attentions.0.", "output.blocks.0.1."], ["up.blocks.0.attentions.1.", "output.blocks.1.1."],
  ]

  public init() {}

  /// Whose block a layer is in; that of the subject where its name holds both.
  private static func block(of path: String) -> Int? {
    let name = path.replacing("_", with: ".")
    return blocks.firstIndex { names in names.contains { name.contains(".\($0)") } }
  }

  public var name: String { "b-lora" }
  public var summary: String { "SDXL's content block of the subject, its style block of the style, nothing else" }
  public var reference: String { "https://arxiv.org/abs/2403.14572" }
  public var roles: [String] { ["subject", "style"] }

  /// - Throws: `MergeError.nothingLeft` for LoRAs without these blocks.
  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    let result = try mergingLayers(
      of: inputs, context,
      keeping: { index, path in Self.block(of: path) == index },
      with: { layer in preconditionFailure("\(layer.path) is in one block and was found in two") })
    guard !result.adapter.factors.isEmpty else {
      throw MergeError.nothingLeft(
        method: name, expected: "up_blocks.0.attentions.0 of the subject and up_blocks.0.attentions.1 of the style")
    }
    return result
  }
}
