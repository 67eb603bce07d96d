/// The names that the layers of an autoencoder have in the original checkpoints of Stability
/// (sgm: modules/diffusionmodules/model.py Encoder and Decoder).
package struct OriginalAutoencoderNames: Sendable {
  /// Number of resolutions. Both sides count them from the highest there; diffusers' decoder counts from the lowest.
  private let levels: Int

  package init(levels: Int) { self.levels = levels }

  /// Where a parameter of diffusers' AutoencoderKL is; nil for one that no original checkpoint has.
  package func parameter(_ path: String) -> OriginalParameter? {
    let (layer, parameter) = path.layerAndParameter
    guard let original = self[layer] else { return nil }
    // Attention is written with 1×1 convolutions there.
    let isProjection = layer.contains(".attentions.") && parameter == "weight" && !layer.hasSuffix("group_norm")
    return OriginalParameter("\(original).\(parameter)", isProjection ? .pointwise : .same)
  }

  private subscript(_ layer: String) -> String? {
    let parts = layer.split(separator: ".").map(String.init)
    guard parts.count > 1 else { return layer }  // quant_conv and post_quant_conv
    let side = parts[0]
    switch (parts[1], parts.count) {
    case ("conv_norm_out", 2): return "\(side).norm_out"
    case (_, 2): return layer
    case ("mid_block", 5...):
      guard let index = Int(parts[3]) else { return nil }
      let rest = parts[4...].joined(separator: ".")
      return parts[2] == "resnets"
        ? "\(side).mid.block_\(index + 1).\(Self.residual(rest))"
        : Self.attention[rest].map { "\(side).mid.attn_\(index + 1).\($0)" }
    case ("down_blocks", 6): return name("\(side).down", parts) { $0 }
    case ("up_blocks", 6): return name("\(side).up", parts) { levels - 1 - $0 }
    default: return nil
    }
  }

  /// `down_blocks.l.resnets.i.layer` or `down_blocks.l.downsamplers.0.conv`, and so for up.
  private func name(_ side: String, _ parts: [String], level: (Int) -> Int) -> String? {
    guard let number = Int(parts[2]) else { return nil }
    let block = "\(side).\(level(number))"
    switch parts[3] {
    case "resnets": return "\(block).block.\(parts[4]).\(Self.residual(parts[5]))"
    case "downsamplers": return "\(block).downsample.\(parts[5])"
    case "upsamplers": return "\(block).upsample.\(parts[5])"
    default: return nil
    }
  }

  private static func residual(_ layer: String) -> String { layer == "conv_shortcut" ? "nin_shortcut" : layer }

  private static let attention = [
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
  ]
}
