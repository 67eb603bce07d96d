/// The names that the layers of a text encoder have in OpenCLIP (open_clip: transformer.py TextTransformer), which the
/// checkpoints of Stable Diffusion 2 and XL contain.
package enum OpenCLIPNames {
  /// Where a parameter of transformers' CLIPTextModel is; nil for one that OpenCLIP lacks.
  package static func parameter(_ path: String) -> OriginalParameter? {
    if let whole = outside[path] { return whole }
    // text_model.encoder.layers.0.self_attn.q_proj.weight
    let parts = path.split(separator: ".").map(String.init)
    guard parts.count > 5, path.hasPrefix("text_model.encoder.layers.") else { return nil }
    let block = "transformer.resblocks.\(parts[3])"
    let (layer, parameter) = parts[4...].joined(separator: ".").layerAndParameter
    if let third = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].firstIndex(of: layer) {
      return OriginalParameter("\(block).attn.in_proj_\(parameter)", .third(third))
    }
    return inside[layer].map { OriginalParameter("\(block).\($0).\(parameter)") }
  }

  private static let outside = [
    "text_model.embeddings.token_embedding.weight": OriginalParameter("token_embedding.weight"),
    "text_model.embeddings.position_embedding.weight": OriginalParameter("positional_embedding"),
    "text_model.final_layer_norm.weight": OriginalParameter("ln_final.weight"),
    "text_model.final_layer_norm.bias": OriginalParameter("ln_final.bias"),
    "text_projection.weight": OriginalParameter("text_projection", .transposed),
  ]

  private static let inside = [
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
  ]
}
