/// The names that UNet layers have in the original checkpoints of Stability (sgm: modules/diffusionmodules/openaimodel.py
/// UNetModel): input_blocks, middle_block, output_blocks.
///
/// There, every residual block, every halving and doubling of the resolution counts as one block, so a number depends on
/// how many layers come before it. These are counted from the model's own list, not assumed.
package struct OriginalUNetNames {
  /// What one down_blocks.b or up_blocks.b is made of.
  private struct Stage {
    var layers = 0
    var hasAttentions = false
    var changesResolution = false
    /// The number of its first block.
    var start = 0
  }

  private var down: [Stage] = []
  private var up: [Stage] = []

  /// - Parameter modules: the paths of all layers of a diffusers UNet, without a component's name.
  package init(_ modules: [String]) {
    for module in modules {
      let parts = module.split(separator: ".").map(String.init)
      guard parts.count > 3, let stage = Int(parts[1]), let index = Int(parts[3]) else { continue }
      switch parts[0] {
      case "down_blocks": Self.count(parts[2], index, in: &down, at: stage)
      case "up_blocks": Self.count(parts[2], index, in: &up, at: stage)
      default: continue
      }
    }
    // input_blocks.0 is conv_in. A halving is a block of its own; a doubling belongs to the block before it.
    Self.number(&down, from: 1) { $0.layers + ($0.changesResolution ? 1 : 0) }
    Self.number(&up, from: 0) { $0.layers }
  }

  private static func count(_ kind: String, _ index: Int, in stages: inout [Stage], at stage: Int) {
    while stages.count <= stage { stages.append(Stage()) }
    switch kind {
    case "resnets": stages[stage].layers = max(stages[stage].layers, index + 1)
    case "attentions": stages[stage].hasAttentions = true
    default: stages[stage].changesResolution = true
    }
  }

  private static func number(_ stages: inout [Stage], from first: Int, _ blocks: (Stage) -> Int) {
    var start = first
    for index in stages.indices {
      stages[index].start = start
      start += blocks(stages[index])
    }
  }

  /// The original path of a layer; nil for one that no original checkpoint has.
  package subscript(_ module: String) -> String? {
    if let whole = Self.outside[module] { return whole }
    let parts = module.split(separator: ".").map(String.init)
    if parts.count > 3, parts[0] == "mid_block", let index = Int(parts[2]) {
      let rest = parts[3...].joined(separator: ".")
      switch parts[1] {
      case "resnets": return Self.residual[rest].map { "middle_block.\(2 * index).\($0)" }
      case "attentions": return "middle_block.\(2 * index + 1).\(rest)"
      default: return nil
      }
    }
    guard parts.count > 4, let number = Int(parts[1]), let index = Int(parts[3]) else { return nil }
    let rest = parts[4...].joined(separator: ".")
    switch parts[0] {
    case "down_blocks": return Self.name("input_blocks", down[number], parts[2], index, rest)
    case "up_blocks": return Self.name("output_blocks", up[number], parts[2], index, rest)
    default: return nil
    }
  }

  private static func name(_ side: String, _ stage: Stage, _ kind: String, _ index: Int, _ rest: String) -> String? {
    switch kind {
    case "resnets": residual[rest].map { "\(side).\(stage.start + index).0.\($0)" }
    case "attentions": "\(side).\(stage.start + index).1.\(rest)"
    case "downsamplers": "\(side).\(stage.start + stage.layers).0.op"
    case "upsamplers": "\(side).\(stage.start + stage.layers - 1).\(stage.hasAttentions ? 2 : 1).conv"
    default: nil
    }
  }

  /// Layers inside a residual block (sgm: openaimodel.py ResBlock). Those of a transformer have the same names in both.
  private static let residual = [
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
  ]

  private static let outside = [
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
  ]
}
