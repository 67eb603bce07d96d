internal import OrderedCollections

/// A word or a prompt that an adapter was trained with.
public struct Trigger: Codable, Sendable, Equatable {
  public let text: String
  /// How many captions have it, where that is known.
  public let count: Int?
  /// The entry of the metadata that says so.
  public let source: String
}

/// What trainers write about their work, in words for people (sd-scripts: train_network.py; modelspec; this package).
struct MetadataDescription {
  /// The most telling ones first.
  private(set) var triggers: [Trigger] = []
  private(set) var training: [Inspection.Entry] = []
  private var unreadable: [String] = []

  private let metadata: OrderedDictionary<String, String>

  init(_ metadata: OrderedDictionary<String, String>) {
    self.metadata = metadata
    for (key, label) in Self.settings {
      // kohya writes Python's None for what was not set.
      if let value = metadata[key], !value.isEmpty, value != "None" { training.append(.init(key: label, value: value)) }
    }
    for key in [Adapter.promptsKey, Adapter.phraseKey, "instance_prompt"] {
      for line in metadata[key]?.split(separator: "\n") ?? [] { addTrigger(String(line), source: key) }
    }
    readTags()
    readFolders()
  }

  private static let settings: KeyValuePairs = [
    "modelspec.title": "title", "modelspec.author": "author", "modelspec.description": "description",
    "modelspec.merged_from": "merged from", "modelspec.usage_hint": "usage", "ss_sd_model_name": "trained on",
    "ss_base_model_version": "kind of base", "ss_network_module": "network", "ss_network_args": "network settings",
    "ss_num_train_images": "pictures", "ss_resolution": "resolution", "ss_steps": "steps", "ss_epoch": "epochs",
    "ss_total_batch_size": "batch", "ss_learning_rate": "learning rate", "ss_unet_lr": "learning rate of the U-Net",
    "ss_text_encoder_lr": "learning rate of text encoders", "ss_lr_scheduler": "schedule", "ss_optimizer": "optimizer",
    "ss_clip_skip": "clip skip", "ss_noise_offset": "noise offset", "ss_min_snr_gamma": "minimal SNR gamma",
    "ss_mixed_precision": "precision", "ss_seed": "seed", "ss_training_comment": "comment",
  ]

  private mutating func addTrigger(_ text: String, count: Int? = nil, source: String) {
    let text = text.trimmed
    if !text.isEmpty, !triggers.contains(where: { $0.text == text }) {
      triggers.append(Trigger(text: text, count: count, source: source))
    }
  }

  /// Folders such as `10_sbu dog`: repeats and the prompt of pictures without captions.
  private mutating func readFolders() {
    let key = "ss_dataset_dirs"
    for (folder, _) in object(key)?.sorted(by: { $0.key < $1.key }) ?? [] {
      let parts = folder.split(separator: "_", maxSplits: 1)
      if parts.count == 2, Int(parts[0]) != nil { addTrigger(String(parts[1]), source: key) }
    }
  }

  /// The tags that most captions have.
  private mutating func readTags() {
    let key = "ss_tag_frequency"
    var counts: [String: Int] = [:]
    for (_, tags) in object(key) ?? [:] {
      guard case .object(let tags) = tags else { continue }
      for (tag, count) in tags {
        // Counts of captions, which 32 bits hold and whose sums 64 do.
        if case .number(let number) = count, let number = Int32(exactly: number) {
          counts[tag.trimmed, default: 0] += Int(number)
        }
      }
    }
    let ordered = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    for (tag, count) in ordered.prefix(10) { addTrigger(tag, count: count, source: key) }
  }

  private mutating func object(_ key: String) -> OrderedDictionary<String, JSONField>? {
    guard let text = metadata[key] else { return nil }
    guard let fields = try? JSONField.object(text, key: key) else {
      unreadable.append(key)
      return nil
    }
    return fields
  }

  /// Where the metadata is broken or does not fit the tensors.
  func problems(of file: AdapterFile) -> [String] {
    var problems = unreadable.map { "the metadata \($0) is not a JSON object, so trigger words in it are lost" }
    if let version = metadata["ss_base_model_version"], let family = file.family, let said = BaseFamily(version: version),
      said != family
    {
      problems.append(
        "the metadata says that the file is for \(said), but its layers are those of \(family); the layers count")
    }
    let ranks = OrderedSet(file.layers.values.compactMap(\.rank))
    if let dim = metadata["ss_network_dim"].flatMap(Int.init), !ranks.isEmpty, !ranks.contains(dim) {
      let found = ranks.sorted().map(String.init).joined(separator: ", ")
      problems.append("the metadata says rank \(dim), but the tensors have \(found); the tensors count")
    }
    return problems
  }

}

extension AdapterFile {
  /// What the metadata says that the file was made for; for files whose layers do not tell.
  package var statedFamily: BaseFamily? { metadata["ss_base_model_version"].flatMap(BaseFamily.init(version:)) }
}

extension BaseFamily {
  /// - Parameter version: as in sd-scripts' ss_base_model_version.
  fileprivate init?(version: String) {
    let families: KeyValuePairs<String, BaseFamily> = [
      "sdxl": .stableDiffusionXL, "sd_v1": .stableDiffusion1, "sd_v2": .stableDiffusion2,
    ]
    guard let found = families.first(where: { version.hasPrefix($0.key) }) else { return nil }
    self = found.value
  }
}

extension String {
  fileprivate var trimmed: String {
    guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace }) else {
      return ""
    }
    return String(self[first...last])
  }
}
