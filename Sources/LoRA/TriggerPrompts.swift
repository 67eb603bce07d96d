extension Adapter {
  /// Metadata: the prompts of the training pictures, one a line.
  package static let promptsKey = "ziplora.prompts"
  /// Metadata: what calls up what the adapter has learnt (SAI Model Spec 1.0).
  package static let phraseKey = "modelspec.trigger_phrase"
}

extension AdapterFile {
  /// Prompts that call up what the adapter has learnt, as far as its metadata knows them: what it was trained with (ziplora),
  /// its trigger phrase (modelspec), else its most frequent training tag (sd-scripts).
  public var prompts: [String] {
    let triggers = MetadataDescription(metadata).triggers
    let trained = triggers.filter { $0.source == Adapter.promptsKey }
    guard trained.isEmpty else { return trained.map(\.text) }
    return triggers.first.map { [$0.text] } ?? []
  }

  /// Whether `prompts` is but the most frequent tag of the captions, or a folder's name: it may call up something else.
  package var promptsAreTags: Bool {
    MetadataDescription(metadata).triggers.first.map {
      ![Adapter.promptsKey, Adapter.phraseKey, "instance_prompt"].contains($0.source)
    }
      ?? false
  }
}
