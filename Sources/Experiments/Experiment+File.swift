internal import Diffusion
internal import Foundation
internal import LoRA
internal import Merging
internal import SafeTensors
internal import Toybox
internal import Torch
internal import Workflows
internal import Yams

extension Experiment {
  /// Reads the description of an experiment: Docs/Experiments.md says what may stand in it.
  ///
  /// - Throws: `SettingError` that names the file, the setting, what was found and what was expected.
  public init(contentsOf path: String) throws {
    guard !Paths.isFolder(path) else { throw SettingError("\(path): found a folder; expected a YAML file in UTF-8") }
    let text: String
    do {
      text = try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw SettingError("\(path): cannot be read (\(error.systemReason)); expected a YAML file in UTF-8")
    }
    do {
      try self.init(yaml: text)
      try validate()
    } catch let error as SettingError {
      throw SettingError("\(path): \(error.description)")
    }
  }

  init(yaml text: String) throws {
    let file = try YAMLMapping(yaml: text)
    base = try file.required("base", file.base)
    size = PictureSize(width: try file.whole("width"), height: try file.whole("height"))
    let examples = try file.text("examples") ?? "Examples/Toybox"
    subjects = try file.required("subjects") { key in
      try file.list(key) { try Material.read($0, .subject, examples: examples, at: $1) }
    }
    styles = try file.required("styles") { key in
      try file.list(key) { try Material.read($0, .style, examples: examples, at: $1) }
    }
    pairs = try file.list("pairs") { node, place in
      guard let names = node.sequence?.compactMap(\.scalar?.string) else { throw SettingError("\(place): expected two names") }
      return names
    }
    if let training = try file.mapping("training") {
      if let subject = try training.mapping("subject") { subjectTraining = try Training(subject, over: subjectTraining) }
      if let style = try training.mapping("style") { styleTraining = try Training(style, over: styleTraining) }
      try training.finish()
    }
    rows = try file.required("rows") { try file.list($0) { try Row(YAMLMapping($0, at: $1)) } }
    reference = try file.text("compared-with") ?? "direct merge"
    if let sampling = try file.mapping("sampling") { self.sampling = try Sampling(sampling) }
    pictures = try file.whole("pictures") ?? pictures
    otherPictures = try file.whole("other-pictures") ?? otherPictures
    reproductionDraws = try file.whole("reproduction-draws") ?? reproductionDraws
    contexts = try file.texts("contexts") ?? contexts
    encoders = try file.mapping("encoders").map { mapping in
      let encoders = Encoders(clip: try mapping.text("clip"), dino: try mapping.text("dino"))
      try mapping.finish()
      return encoders
    }
    oracle = try file.truth("oracle")
    try file.finish()
  }
}

extension Experiment.Material {
  /// A name of a Toybox example, or a mapping.
  static func read(_ node: Node, _ kind: Example.Kind, examples: String, at place: String) throws -> Self {
    guard let name = node.scalar?.string else { return try Self(YAMLMapping(node, at: place), kind) }
    do {
      return Self(try .named(name, kind), in: examples)
    } catch {
      throw SettingError("\(place): \(error)")
    }
  }

  private init(_ mapping: YAMLMapping, _ kind: Example.Kind) throws {
    name = try mapping.required("name", mapping.text)
    images = try mapping.required("images", mapping.text)
    prompt = try mapping.required("prompt", mapping.text)
    classPrompt = try mapping.required("class", mapping.text)
    phrase = kind == .style ? try mapping.required("phrase", mapping.text) : nil
    referencePrompts = try mapping.texts("reference-prompts") ?? []
    try mapping.finish()
  }

  private init(_ example: Example, in folder: String) {
    name = example.name
    images = "\(folder)/\(example.kind == .subject ? "subjects" : "styles")/\(example.name)"
    prompt = example.prompt
    classPrompt = example.classPrompt
    phrase = example.kind == .style ? "in szn style" : nil
    referencePrompts = example.referencePrompts
  }
}

extension Experiment.Training {
  init(_ mapping: YAMLMapping, over defaults: Self = .init()) throws {
    self = defaults
    rank = try mapping.whole("rank") ?? rank
    steps = try mapping.whole("steps") ?? steps
    learningRate = try mapping.number("learning-rate") ?? learningRate
    schedule = try mapping.choice("schedule") ?? schedule
    warmup = try mapping.whole("warmup") ?? warmup
    batch = try mapping.whole("batch") ?? batch
    prior = try mapping.whole("prior") ?? prior
    seed = try mapping.seed("seed") ?? seed
    try mapping.finish()
  }
}

extension Experiment.Row {
  init(_ mapping: YAMLMapping) throws {
    name = try mapping.required("name", mapping.text)
    way = .loras([], sparsity: 0, combination: .weights)
    weights =
      try mapping.list("weights") { node, place in
        guard let weight = node.float else { throw SettingError("\(place): expected a number") }
        return weight
      } ?? weights
    with = try mapping.texts("with") ?? with
    way = try readWay(mapping)
    try mapping.finish()
  }

  /// The way that one key says; what belongs to another way is an error.
  private func readWay(_ mapping: YAMLMapping) throws -> Way {
    let loras = try mapping.list("loras") { node, place in
      guard let role = node.scalar.flatMap({ Experiment.Role(rawValue: $0.string) }) else {
        throw SettingError("\(place): expected subject or style")
      }
      return role
    }
    let (sparsity, combination) = (try mapping.number("sparsity"), try mapping.choice("combine", LoRACombination.self))
    let (merge, options) = (try mapping.text("merge"), try mapping.numbers("options"))
    let zip = try mapping.mapping("zip").map(Experiment.Zip.init)
    let joint = try mapping.mapping("joint").map { try Experiment.Training($0) }
    let (of, replace, from) = (try mapping.text("of"), try mapping.texts("replace") ?? [], try mapping.text("from"))

    func require(_ holds: Bool, _ rule: String) throws {
      guard holds else { throw SettingError("\(title): \(rule)") }
    }
    try require(combination ?? .weights == .weights || loras != nil, "combine goes with loras: [subject, style] alone")
    try require(sparsity ?? 0 == 0 || loras != nil, "sparsity goes with loras alone")
    try require(options.isEmpty || merge != nil, "options go with merge alone")
    try require(with.isEmpty || merge != nil || zip != nil, "with goes with merge and zip alone")
    try require(replace.isEmpty == (from == nil) && (replace.isEmpty || of != nil), "replace and from go together, with of")

    let ways: [(key: String, way: Way?)] = [
      ("loras", loras.map { .loras($0, sparsity: sparsity ?? 0, combination: combination ?? .weights) }),
      ("merge", merge.map { .merge($0, options: options) }), ("zip", zip.map(Way.zip)), ("joint", joint.map(Way.joint)),
      (
        "of",
        of.map { row in from.map { .replaced(of: row, layers: replace, from: $0) } ?? .reweighted(of: row) }
      ),
    ]
    let given = ways.filter { $0.way != nil }
    guard given.count == 1, let way = given[0].way else {
      throw SettingError(
        "\(title): found \(given.isEmpty ? "none" : given.map(\.key).joined(separator: " and ")) of "
          + "\(ways.map(\.key).joined(separator: ", ")); expected one")
    }
    return way
  }
}

extension Experiment.Zip {
  init(_ mapping: YAMLMapping) throws {
    let method: ZipOptions.Method = try mapping.choice("method") ?? .paper
    options = ZipOptions(method: method)
    options.steps = try mapping.whole("steps") ?? options.steps
    options.optimizer = try mapping.choice("optimizer") ?? options.optimizer
    options.learningRate = try mapping.number("learning-rate") ?? options.learningRate
    options.schedule = try mapping.choice("schedule") ?? options.schedule
    options.objective.fidelity = try mapping.choice("fidelity") ?? options.objective.fidelity
    options.objective.similarity = try mapping.choice("similarity") ?? options.objective.similarity
    options.objective.lambda = try mapping.number("lambda") ?? options.objective.lambda
    if let text = try mapping.text("scope") {
      do {
        options.scope = try Targets(text)
      } catch {
        throw SettingError("zip.scope: \(error)")
      }
    }
    options.initialValue = try mapping.number("initial-value") ?? options.initialValue
    options.draws = try mapping.whole("draws") ?? options.draws
    if let passes = try mapping.whole("closed-form") { options.closedForm = ClosedForm(passes: passes) }
    options.seed = try mapping.seed("seed") ?? options.seed
    batch = try mapping.whole("batch") ?? batch
    references = try mapping.choice("references") ?? references
    usesReferencePrompts = try mapping.truth("reference-prompts") ?? usesReferencePrompts
    usesJointPrompt = try mapping.truth("joint-prompt") ?? usesJointPrompt
    referenceCount = try mapping.whole("reference-count") ?? referenceCount
    try mapping.finish()
    guard method != .joint || usesJointPrompt else {
      throw SettingError("zip.method: joint is for joint prompts; expected joint-prompt: true beside it")
    }
  }
}

extension Experiment.Sampling {
  init(_ mapping: YAMLMapping) throws {
    if let name = try mapping.text("sampler") {
      do {
        sampler = try .named(name)
      } catch {
        throw SettingError("sampling.sampler: \(error)")
      }
    }
    steps = try mapping.whole("steps") ?? steps
    guidance = try mapping.number("guidance") ?? guidance
    seed = try mapping.seed("seed") ?? seed
    batch = try mapping.whole("batch") ?? batch
    dtype = try mapping.dtype("dtype", at: "sampling")
    try mapping.finish()
  }
}

extension YAMLMapping {
  /// A base by its path or id alone, or with what the options of the command line say of it: `--variant`, `--vae`, `--dtype` …
  func base(_ key: String) throws -> BaseModel? {
    if let source = try? text(key) { return BaseModel(source) }
    guard let mapping = try mapping(key) else { return nil }
    let base = BaseModel(
      try mapping.required("source", mapping.text),
      choices: .init(
        variant: try mapping.text("variant"), vae: try mapping.text("vae"), tokenizer: try mapping.text("tokenizer"),
        configuration: try mapping.text("config"), predictionType: try mapping.choice("prediction-type"),
        timestepSpacing: try mapping.choice("timestep-spacing"), clipSkip: try mapping.whole("clip-skip"),
        textParts: try mapping.whole("text-parts")),
      dtype: try mapping.dtype("dtype", at: key) ?? .float32)
    try mapping.finish()
    return base
  }

  func dtype(_ key: String, at place: String) throws -> DType? {
    guard let name = try text(key) else { return nil }
    guard let dtype = DType(named: name), [.float32, .bfloat16, .float16].contains(dtype) else {
      throw SettingError("\(place).\(key): found \(name); expected float32, bfloat16 or float16")
    }
    return dtype
  }

  func seed(_ key: String) throws -> UInt64? {
    guard let value = try whole(key) else { return nil }
    guard let seed = UInt64(exactly: value) else { throw SettingError("\(key): found \(value); expected 0 or more") }
    return seed
  }
}
