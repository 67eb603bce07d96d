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

/// What is known of a file.
enum HubPresence {
  case here
  /// The repository has it, but it is not here.
  case elsewhere
  /// The repository has no such file.
  case absent
  case unknown
}

/// A repository, or what the cache has of one.
protocol HubFiles {
  /// Whether nothing more can be had: weights that are not here are nowhere.
  var isAll: Bool { get }
  func presence(of name: String) -> HubPresence
  /// The content of a small file.
  func data(_ name: String) async throws -> Data
}

extension HubFiles {
  func has(_ name: String) -> Bool { presence(of: name) == .here }
  fileprivate func lacks(_ name: String) -> Bool { isAll ? !has(name) : presence(of: name) == .absent }
  fileprivate func mayHave(_ name: String) -> Bool { [.elsewhere, .unknown].contains(presence(of: name)) }
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

/// The names that the weights of a network in one variant may have.
private struct WeightNames {
  let file: String
  /// Of weights in several files, whose own names follow `pieces`.
  let index: String
  let pieces: [String]

  init(_ folder: String, _ stem: String, _ variant: String?) {
    let infix = variant.map { ".\($0)" } ?? ""
    let numbers = "-?????-of-?????"
    file = "\(folder)\(stem)\(infix).safetensors"
    index = "\(folder)\(stem).safetensors.index\(infix).json"
    // diffusers has written variants both ways.
    pieces = Set([infix + numbers, numbers + infix]).sorted().map { "\(folder)\(stem)\($0).safetensors" }
  }

  var entries: [String] { [file, index] }
}

/// The files that a selection takes of a repository, and what it needs and does not find.
struct HubPlan {
  private(set) var files: [String] = []
  private(set) var missing: [String] = []
  /// Files that a model may do without, but that change what it does, and of which nothing is known.
  private(set) var unsettled: [String] = []
  /// What the repository is known to lack of that, and of weights that would be better than those taken.
  private(set) var absent: [String] = []
  /// Names, and patterns of names, of what the repository may have in place of what is missing, or beside it.
  private var possible: [String] = []
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
    case .tokenizers: addTokenizers(repository)
    }
    if !hasVariant { missing += lackingVariant }
  }

  private init() {}

  /// What to fetch in one go where the repository cannot be looked at: what is missing, and what it may have besides.
  var advice: [String] {
    var seen: Set<String> = []
    return (missing + unsettled + possible).filter { seen.insert($0).inserted }
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
    try await addParts(parts, variant, weights: weights, repository)
    guard !repository.has(index) else { return }
    // Larger models have these, too.
    var larger = HubPlan()
    try await larger.addParts(["text_encoder_2", "tokenizer_2"], variant, weights: weights, repository)
    possible += larger.advice
  }

  private mutating func addParts(
    _ parts: Set<String>, _ variant: String?, weights: Bool, _ repository: some HubFiles
  ) async throws {
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

  /// The tokenizers of a pipeline, or one at the top.
  private mutating func addTokenizers(_ repository: some HubFiles) {
    let folders = ["tokenizer/", "tokenizer_2/"].map { folder in (folder, signs: Self.vocabularies.map { folder + $0[0] }) }
    let found = folders.filter { $0.signs.contains { [.here, .elsewhere].contains(repository.presence(of: $0)) } }
    for folder in found.isEmpty ? [""] : found.map(\.0) { addTokenizer(folder, repository) }
    for (folder, signs) in folders where !found.contains(where: { $0.0 == folder }) {
      settle(signs, repository)
      var other = HubPlan()
      other.addTokenizer(folder, repository)
      if signs.contains(where: repository.mayHave) { possible += other.advice }
    }
  }

  private mutating func addTokenizer(_ folder: String, _ repository: some HubFiles) {
    add(Self.vocabularies.map { $0.map { folder + $0 } }, repository)
    // Without them a tokenizer works, but pads or marks ends otherwise.
    let settings = ["tokenizer_config.json", "special_tokens_map.json"].map { folder + $0 }
    settle(settings, repository)
    // Whoever has fetched both has fetched this, too, where it was: most repositories lack it, and diffusers notes nothing of that.
    let added = folder + "added_tokens.json"
    let countsAsAbsent = repository.presence(of: added) == .unknown && settings.allSatisfy(repository.has)
    if !countsAsAbsent { settle([added], repository) }
  }

  /// Takes the files that there are, and makes sure of those that there are not.
  private mutating func settle(_ names: [String], _ repository: some HubFiles) {
    for name in names {
      switch repository.presence(of: name) {
      case .here: files.append(name)
      case .elsewhere: missing.append(name)
      case .absent: absent.append(name)
      case .unknown: unsettled.append(name)
      }
    }
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
    let candidates = variants.map { WeightNames(folder, stem, $0) }
    let lacking = candidates.prefix { $0.entries.allSatisfy(repository.lacks) }
    // Where there are both, diffusers takes the index and transformers the one file.
    let offered = candidates.dropFirst(lacking.count).first?.entries.filter(repository.has) ?? []
    guard let file = stem.hasPrefix("diffusion") ? offered.last : offered.first else {
      miss(candidates, isNew: !repository.has("\(folder)config.json"), repository)
      return
    }
    files.append(file)
    absent += lacking.flatMap(\.entries)
    if lacking.isEmpty { hasVariant = true } else if variant != nil { lackingVariant.append(candidates[0].file) }
    guard file.hasSuffix(".json") else { return }
    let shards = Set(try JSONDecoder().decode(ShardIndex.self, from: try await repository.data(file)).weight_map.values)
    add([shards.sorted().map { folder + $0 }], repository)
  }

  /// Asks for the first weights that the repository may have.
  ///
  /// - Parameter isNew: whether nothing of the network is here, so that nothing tells in how many files it is.
  private mutating func miss(_ candidates: [WeightNames], isNew: Bool, _ repository: some HubFiles) {
    let wanted = candidates.first { $0.entries.contains(where: repository.mayHave) } ?? candidates[0]
    let isWhole = repository.presence(of: wanted.file) != .absent || !repository.mayHave(wanted.index)
    missing.append(isWhole ? wanted.file : wanted.index)
    if isNew || !isWhole { possible += [wanted.index] + wanted.pieces }
  }

  /// Takes the first group that is whole.
  private mutating func add(_ groups: [[String]], _ repository: some HubFiles) {
    if let found = groups.first(where: { $0.allSatisfy(repository.has) }) {
      files += found
      return
    }
    let wanted = groups.first { $0.allSatisfy { repository.presence(of: $0) != .absent } } ?? groups[0]
    missing += wanted.filter { !repository.has($0) }
    possible += groups.joined().filter(repository.mayHave)
  }
}
