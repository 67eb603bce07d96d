public import LoRA
internal import OrderedCollections

/// An adapter to be merged.
public struct MergeInput {
  /// For reports and metadata, such as the file's name.
  public let name: String
  public let adapter: Adapter
  /// How strongly it counts: the method sees ΔW times this.
  public let weight: Double

  public init(_ name: String, _ adapter: Adapter, weight: Double = 1) {
    self.name = name
    self.adapter = adapter
    self.weight = weight
  }

  /// The adapter as strong as it counts.
  public var weighted: Adapter { adapter.scaled(by: weight) }

  /// One layer, weighted; it must be there.
  func factors(_ path: String) -> LowRankFactors { adapter.factors[path]!.scaled(by: weight) }
}

extension Array<MergeInput> {
  /// What LoRAs something was merged of, the phrases and prompts that call up what they have learnt (SAI Model Spec 1.0), and what
  /// they all say of their base. A LoRA of weight 0 takes no part.
  var originMetadata: OrderedDictionary<String, String> {
    let inputs = filter { $0.weight != 0 }
    var metadata: OrderedDictionary = ["modelspec.merged_from": inputs.map(\.name).joined(separator: ", ")]
    func values(_ key: String) -> [String] { inputs.compactMap { $0.adapter.metadata[key] } }
    let phrases = OrderedSet(values(Adapter.phraseKey))
    if !phrases.isEmpty { metadata[Adapter.phraseKey] = phrases.joined(separator: ", ") }
    if !values(Adapter.promptsKey).isEmpty {
      // Who reads prompts reads no phrases.
      let prompts = inputs.compactMap { $0.adapter.metadata[Adapter.promptsKey] ?? $0.adapter.metadata[Adapter.phraseKey] }
      metadata[Adapter.promptsKey] = OrderedSet(prompts).joined(separator: "\n")
    }
    for key in Self.baseKeys {
      let values = values(key)
      if values.count == inputs.count, OrderedSet(values).count == 1 { metadata[key] = values[0] }
    }
    return metadata
  }

  private static var baseKeys: [String] {
    [
      "ss_base_model_version", "ss_v2", "ss_v_parameterization", "ss_clip_skip", "modelspec.architecture",
      "modelspec.prediction_type",
      "modelspec.resolution",
    ]
  }
}
