extension AdapterFile {
  /// Prompts that call up what the adapter has learnt, as far as its metadata knows them: what it was trained with (ziplora),
  /// its trigger phrase (modelspec), else its most frequent training tag (sd-scripts).
  public var prompts: [String] {
    let triggers = MetadataDescription(metadata).triggers
    let trained = triggers.filter { $0.source == MetadataDescription.promptsKey }
    guard trained.isEmpty else { return trained.map(\.text) }
    return triggers.first.map { [$0.text] } ?? []
  }
}
