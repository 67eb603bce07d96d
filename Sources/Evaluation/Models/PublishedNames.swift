/// The keys of published checkpoints for those that transformers 5 has for the same parameters, which it writes with
/// `save_pretrained(…, save_original_format=False)` (transformers: conversion_mapping.py ViTModel, Dinov2Model).
struct PublishedNames {
  /// What models with a head have before the names of the encoder.
  private let prefix: String
  /// Parts of names: today's and the published ones.
  private let parts: KeyValuePairs<String, String>

  private static let attention: KeyValuePairs = [
    ".attention.q_proj.": ".attention.attention.query.", ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.", ".attention.o_proj.": ".attention.output.dense.",
  ]

  static let vit = PublishedNames(
    prefix: "vit.", parts: [".mlp.fc1.": ".intermediate.dense.", ".mlp.fc2.": ".output.dense."])
  static let dinov2 = PublishedNames(prefix: "dinov2.", parts: [".mlp.down_proj.": ".mlp.weights_out."])

  func name(of key: String) -> String {
    var name = key.hasPrefix(prefix) ? String(key.dropFirst(prefix.count)) : key
    if name.hasPrefix("layers.") { name = "encoder.layer." + name.dropFirst("layers.".count) }
    for pairs in [Self.attention, parts] {
      for (new, published) in pairs { name = name.replacing(new, with: published) }
    }
    return name
  }

  /// Whether a key belongs to what stands on top of the encoder, or to its training. The pooler of DINO's models was never
  /// trained: transformers makes it of random numbers.
  static func isHead(_ name: String) -> Bool {
    name.hasPrefix("pooler.") || name.hasPrefix("classifier.") || name == "embeddings.mask_token"
  }
}
