internal import Foundation

/// Which files of a repository are needed.
public enum HubSelection: Sendable, Equatable {
  /// A text-to-image model in diffusers' layout; weights in that variant, where a part has it.
  case pipeline(variant: String?)
  /// The configurations of one, without weights.
  case configurations
  /// One autoencoder at the top of the repository.
  case autoencoder(variant: String?)
  /// The tokenizers of a model, or one tokenizer at the top.
  case tokenizers
  /// One encoder of pictures at the top of the repository, with its preprocessing, and its tokenizer where it knows texts.
  case imageEncoder(texts: Bool)
}

/// A repository, or what the cache has of one.
protocol HubFiles {
  func has(_ name: String) -> Bool
  /// Whether it is certain that the repository has no such file.
  func lacks(_ name: String) -> Bool
  /// The content of a small file.
  func data(_ name: String) async throws -> Data
}

/// A member of `model_index.json`: a part is the names of its library and class, or twice null where a model does without.
private struct IndexEntry: Decodable {
  let isPart: Bool

  init(from decoder: any Decoder) throws {
    let names = try? decoder.singleValueContainer().decode([String?].self)
    isPart = names?.first.flatMap { $0 } != nil
  }
}

/// An index of weights in several files.
private struct ShardIndex: Decodable {
  let weight_map: [String: String]
}

/// The files that a selection takes of a repository, and what it needs and does not find.
struct HubPlan {
  private(set) var files: [String] = []
  private(set) var missing: [String] = []
  /// Weights that would be better than those taken, but that the repository is known to lack.
  private(set) var absent: [String] = []
  /// What networks lack in the variant asked for, which is an error where none has it.
  private var lackingVariant: [String] = []
  private var hasVariant = false

  init(_ selection: HubSelection, of repository: some HubFiles) async throws {
    switch selection {
    case .pipeline(let variant): try await addPipeline(variant, weights: true, repository)
    case .configurations: try await addPipeline(nil, weights: false, repository)
    case .autoencoder(let variant):
      try await addNetwork("", "diffusion_pytorch_model", variant, weights: true, repository)
    case .imageEncoder(let texts):
      try await addNetwork("", "model", nil, weights: true, repository)
      add([["preprocessor_config.json"]], repository)
      if texts { addTokenizer("", repository) }
    case .tokenizers:
      let folders = ["tokenizer/", "tokenizer_2/"].filter { folder in
        Self.vocabularies.contains { repository.has(folder + $0[0]) }
      }
      for folder in folders.isEmpty ? [""] : folders { addTokenizer(folder, repository) }
    }
    if !hasVariant { missing += lackingVariant }
  }

  /// What `model_index.json` names, as far as it is used here: no safety checker, no feature extractor.
  private mutating func addPipeline(_ variant: String?, weights: Bool, _ repository: some HubFiles) async throws {
    let index = "model_index.json"
    // Without it, what every model has is what must be fetched at least.
    var parts: Set = ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
    if repository.has(index) {
      let entries = try JSONDecoder().decode([String: IndexEntry].self, from: try await repository.data(index))
      parts = Set(entries.filter(\.value.isPart).keys)
    }
    add([[index]], repository)
    for part in ["scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"]
    where parts.contains(part) {
      switch part {
      case "scheduler": add([["scheduler/scheduler_config.json"]], repository)
      case "tokenizer", "tokenizer_2": addTokenizer("\(part)/", repository)
      case "unet", "vae":
        try await addNetwork("\(part)/", "diffusion_pytorch_model", variant, weights: weights, repository)
      default: try await addNetwork("\(part)/", "model", variant, weights: weights, repository)
      }
    }
  }

  private static let vocabularies = [["vocab.json", "merges.txt"], ["tokenizer.json"]]

  private mutating func addTokenizer(_ folder: String, _ repository: some HubFiles) {
    add(Self.vocabularies.map { $0.map { folder + $0 } }, repository)
    let others = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"].map { folder + $0 }
    files += others.filter(repository.has)
  }

  /// A configuration with its weights in one file or several, under the names that diffusers and transformers give them.
  ///
  /// Without the variant asked for the full weights will do, as long as some network has it (diffusers:
  /// pipelines/pipeline_loading_utils.py variant_compatible_siblings), and without these those in half precision.
  private mutating func addNetwork(
    _ folder: String, _ stem: String, _ variant: String?, weights: Bool, _ repository: some HubFiles
  ) async throws {
    add([["\(folder)config.json"]], repository)
    guard weights else { return }
    let variants = (variant.map { [$0] } ?? []) + [nil, "fp16"]
    let candidates = variants.map { variant in
      let infix = variant.map { ".\($0)" } ?? ""
      return ["\(folder)\(stem)\(infix).safetensors", "\(folder)\(stem).safetensors.index\(infix).json"]
    }
    let lacking = candidates.prefix { $0.allSatisfy(repository.lacks) }
    // Where there are both, diffusers takes the index and transformers the one file.
    let offered = candidates.dropFirst(lacking.count).first?.filter(repository.has) ?? []
    guard let file = stem.hasPrefix("diffusion") ? offered.last : offered.first else {
      missing.append(candidates[0][0])
      return
    }
    files.append(file)
    absent += lacking.joined()
    if lacking.isEmpty { hasVariant = true } else if variant != nil { lackingVariant.append(candidates[0][0]) }
    guard file.hasSuffix(".json") else { return }
    let shards = Set(try JSONDecoder().decode(ShardIndex.self, from: try await repository.data(file)).weight_map.values)
    add([shards.sorted().map { folder + $0 }], repository)
  }

  /// Takes the first group that is whole.
  private mutating func add(_ groups: [[String]], _ repository: some HubFiles) {
    if let found = groups.first(where: { $0.allSatisfy(repository.has) }) {
      files += found
    } else {
      missing += groups[0].filter { !repository.has($0) }
    }
  }
}
