internal import Diffusion
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
internal import Toybox
internal import Training
internal import Workflows

/// An experiment as jobs, in an order in which everything is there when it is needed.
///
///     OUT/loras/subject-dog.safetensors             a LoRA of each material, with its record
///     OUT/prior/dog-3c1f09ab                        what the base draws of its class, from this prompt and seed
///     OUT/references                                what LoRAs have drawn for zipping
///     OUT/pairs/dog-notebook/ROW/merged.safetensors what a row makes of a pair
///     OUT/pairs/dog-notebook/ROW/styled             what is drawn with it
///     OUT/pairs/dog-notebook/ROW/scores.json        how good the oracle finds that
///     OUT/pairs/dog-notebook/ROW/styled-scores.json how good encoders find it
struct ExperimentPlan {
  private let experiment: Experiment
  private let output: String
  private(set) var jobs: [ExperimentJob] = []
  private let files = FileDigests()
  /// Of the jobs: what several pairs need is made once.
  private var records: Set<String> = []
  private var products: JobProducts
  /// The pictures of materials, by what the materials call them.
  private var known: [String: [String]] = [:]

  /// - Throws: `SettingError` for what cannot be run.
  init(_ experiment: Experiment, output: String) throws {
    (self.experiment, self.output) = (experiment, output)
    products = JobProducts(in: output)
    let pairs = try experiment.allPairs
    func used(_ materials: [Experiment.Material], _ pick: (Experiment.Pair) -> Experiment.Material) -> [Experiment.Material] {
      materials.filter { material in pairs.contains { pick($0) == material } }
    }
    for subject in used(experiment.subjects, \.subject) { try train(subject, .subject) }
    for style in used(experiment.styles, \.style) { try train(style, .style) }
    for pair in pairs {
      for row in experiment.rows { try add(row, of: pair) }
    }
  }

  private var base: BaseModel { experiment.base }

  private func base(drawingIn dtype: DType?) -> BaseModel {
    var base = base
    base.dtype = dtype ?? base.dtype
    return base
  }

  static func folder(_ row: Experiment.Row, of pair: Experiment.Pair, in output: String) -> String {
    "\(output)/pairs/\(pair.name)/\(row.folder)"
  }

  private func folder(_ row: Experiment.Row, _ pair: Experiment.Pair) -> String { Self.folder(row, of: pair, in: output) }

  /// - Parameters:
  ///   - place: of its settings in the file.
  ///   - folders: that it puts files into, beside what its record is of.
  ///   - materials: whose pictures it reads.
  ///   - drawn: what it reads that others have drawn or collected.
  ///   - clearing: a folder that belongs to it alone.
  /// - Throws: `SettingError` of a job that could not run, before any other has.
  private mutating func add<Work: Workflow>(
    _ title: String, _ work: Work, at place: SettingPlace = .init(), record: String, folders: [String] = [],
    reading materials: [Experiment.Material] = [], drawn: [ExperimentJob.Folder] = [], clearing: String? = nil
  ) throws {
    try place.naming { try work.validate() }
    guard records.insert(record).inserted else { return }
    let needs = try products.makers(for: work)
    let product = record.hasSuffix("/run.json") ? record.dropLast("/run.json".count) : record.dropLast(".json".count)
    products.add([String(product)] + folders, of: jobs.count)
    let reads = try materials.flatMap { try pictures(of: $0) }
    jobs.append(
      ExperimentJob(
        title, work, needs: needs, record: record, reads: reads, pictures: drawn, clearing: clearing, files: files))
  }

  /// Paths of a material's pictures.
  private mutating func pictures(of material: Experiment.Material) throws -> [String] {
    if let known = known[material.images] { return known }
    let files = try PictureSource(material.images).read().pictures.map(\.file)
    known[material.images] = files
    return files
  }

  // MARK: LoRAs

  private func lora(_ material: Experiment.Material, _ role: Experiment.Role) -> String {
    "\(output)/loras/\(role.rawValue)-\(material.name).safetensors"
  }

  /// One LoRA with its smallest elements zero; made once for all pairs.
  private mutating func lora(
    _ material: Experiment.Material, _ role: Experiment.Role, sparsity: Double
  ) throws -> String {
    let whole = lora(material, role)
    guard sparsity > 0 else { return whole }
    let file = "\(Paths.stem(whole))-sparsity-\(sparsity).safetensors"
    try add(
      "thinning the LoRA of \(material.name)",
      SparsifyAdapter(
        input: AdapterInput(whole, base: experiment.base.source), sparsity: sparsity, output: AdapterOutput(file, overwrite: true)
      ),
      record: Paths.record(of: file))
    return file
  }

  private func training(_ role: Experiment.Role) -> Experiment.Training {
    role == .subject ? experiment.subjectTraining : experiment.styleTraining
  }

  /// Named by all that its pictures depend on, so that those of another prompt or seed are never among them.
  private func prior(_ material: Experiment.Material, _ role: Experiment.Role) -> String {
    "\(output)/prior/\(material.name)-\(FileDigest.ofTexts([material.classPrompt, "\(training(role).seed)"]).prefix(8))"
  }

  private mutating func train(
    _ material: Experiment.Material, _ role: Experiment.Role
  ) throws {
    let training = training(role)
    let file = lora(material, role)
    let folder = prior(material, role)
    let prior = PriorPictures(folder: folder, prompt: material.classPrompt, count: training.prior)
    try add(
      "training the LoRA of \(material.name)",
      TrainAdapter(
        base: base, pictures: PictureSource(material.images, prompt: material.prompt), size: experiment.size,
        training: training.options,
        prior: training.prior > 0 ? prior : nil, output: AdapterOutput(file, overwrite: true)),
      at: SettingPlace(section: "training.\(role.rawValue)", names: Self.trainingNames), record: Paths.record(of: file),
      folders: training.prior > 0 ? [folder] : [], reading: [material],
      drawn: training.prior > 0 ? [.init(path: folder, count: training.prior)] : [])
  }

  private static let trainingNames = ["prior-count": "prior"]

  /// One LoRA of both, each as often in a step as the other.
  private mutating func trainJointly(
    _ pair: Experiment.Pair, _ training: Experiment.Training, of row: Experiment.Row, to file: String
  ) throws {
    // No row's folder begins with a point.
    let folder = "\(output)/pairs/\(pair.name)/.joint"
    let both = [pair.subject, pair.style]
    let counts = try both.map { try pictures(of: $0).count }
    // As few copies of each as make the numbers equal.
    func divisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : divisor(b, a % b) }
    let common = max(1, divisor(counts[0], counts[1]))
    let sources = zip(both, counts.reversed()).map { material, others in
      CollectPictures.Source(
        pictures: PictureSource(material.images, prompt: material.prompt), copies: max(1, others / common))
    }
    let collected = "\(folder)-pictures"
    try add(
      "collecting \(pair.name)", CollectPictures(sources: sources, output: collected), record: Paths.record(of: collected),
      reading: both)
    var prior: PriorPictures?
    if training.prior > 0 {
      let folders = zip(both, Experiment.Role.allCases).map { self.prior($0, $1) }
      let classes = zip(both, folders).map { material, folder in
        CollectPictures.Source(
          pictures: PictureSource(folder, prompt: material.classPrompt), count: training.prior, copies: 1)
      }
      let collected = "\(folder)-prior"
      try add(
        "collecting classes", CollectPictures(sources: classes, output: collected), record: Paths.record(of: collected),
        drawn: folders.map { .init(path: $0, count: training.prior) })
      prior = PriorPictures(folder: collected)
    }
    try add(
      "training one LoRA of \(pair.name)",
      TrainAdapter(
        base: base, pictures: PictureSource(collected), size: experiment.size, training: training.options, prior: prior,
        output: AdapterOutput(file, overwrite: true)),
      at: SettingPlace(owner: row.title, section: "joint", names: Self.trainingNames), record: Paths.record(of: file),
      drawn: [.init(path: collected)] + (prior?.folder.map { [.init(path: $0)] } ?? []))
  }

  // MARK: Rows

  private mutating func add(_ row: Experiment.Row, of pair: Experiment.Pair) throws {
    let folder = folder(row, pair)
    let drawn = try loras(row, pair, merged: "\(folder)/merged.safetensors")
    for exhibit in Experiment.Exhibit.allCases {
      let prompts = experiment.prompts(exhibit, of: pair)
      guard !prompts.isEmpty else { continue }
      let sampling = experiment.sampling
      let pictures = "\(folder)/\(exhibit.rawValue)"
      try add(
        "drawing \(pair.name) by \(row.name)",
        GenerateImages(
          base: base(drawingIn: sampling.dtype), prompts: prompts, loras: drawn, combination: row.combination,
          sampler: sampling.sampler, steps: sampling.steps, guidance: sampling.guidance, size: experiment.size,
          seed: sampling.seed,
          count: experiment.count(exhibit), batch: sampling.batch, output: pictures, overwrite: true),
        at: SettingPlace(section: "sampling"), record: "\(pictures)/run.json", clearing: pictures)
      let scores = ExperimentScores.file(exhibit, in: folder)
      if let evaluation = experiment.evaluation(exhibit, of: pair, pictures: pictures, json: scores) {
        let compared = [(evaluation.subjectImages, pair.subject), (evaluation.styleImages, pair.style)]
        try add(
          "evaluating \(pair.name) by \(row.name)", evaluation, record: Paths.record(of: scores),
          reading: compared.filter { $0.0 != nil }.map(\.1), drawn: [.init(path: pictures)])
      }
    }
    func side(_ material: Experiment.Material, _ role: Experiment.Role) -> ZipAdapters.Side {
      .init(lora: WeightedFile(lora(material, role)), images: material.images, prompt: material.prompt)
    }
    try add(
      "measuring \(pair.name) by \(row.name)",
      MeasureReproduction(
        base: base, subject: side(pair.subject, .subject), style: side(pair.style, .style), merged: drawn,
        combination: row.combination, size: experiment.size,
        draws: experiment.reproductionDraws, batch: 4, seed: 7, output: "\(folder)/reproduction.json"),
      record: Paths.record(of: "\(folder)/reproduction.json"), reading: [pair.subject, pair.style])
    guard experiment.asksOracle else { return }
    try add(
      "judging \(pair.name) by \(row.name)",
      JudgeToybox(
        base: experiment.base.source, subject: pair.subject.name, style: pair.style.name, contexts: experiment.contexts,
        pictures: folder), record: Paths.record(of: "\(folder)/scores.json"))
  }

  /// Adds what makes them, and says which LoRAs a row draws with.
  private mutating func loras(
    _ row: Experiment.Row, _ pair: Experiment.Pair, merged: String
  ) throws -> [WeightedFile] {
    let both = zip([lora(pair.subject, .subject), lora(pair.style, .style)], row.weights).map { WeightedFile($0, weight: $1) }
    let others = try experiment.others(row, of: pair)
    for other in others { try train(other.material, other.role) }
    let all = both + others.map { WeightedFile(lora($0.material, $0.role)) }
    let output = AdapterOutput(merged, overwrite: true)
    let (title, record) = ("merging \(pair.name) by \(row.name)", Paths.record(of: merged))
    switch row.way {
    case .loras(let roles, let sparsity, _):
      let sides = [(pair.subject, Experiment.Role.subject), (pair.style, .style)]
      return try zip(sides, row.weights).filter { roles.contains($0.0.1) }.map { side, weight in
        WeightedFile(try lora(side.0, side.1, sparsity: sparsity), weight: weight)
      }
    case .merge(let method, let options):
      try add(
        title, MergeAdapters(method: method, settings: options, loras: all, output: output),
        at: SettingPlace(owner: row.title), record: record)
    case .zip(let zip):
      try add(
        title, zipping(zip, pair, others.map(\.material), all, output),
        at: SettingPlace(owner: row.title, section: "zip", names: Self.zipNames), record: record,
        reading: zip.references == .pictures ? [pair.subject, pair.style] + others.map(\.material) : [])
    case .joint(let training): try trainJointly(pair, training, of: row, to: merged)
    case .reweighted(let other):
      try add(
        title, ReweightAdapter(lora: made(by: other, pair), weights: row.weights, output: output), record: record)
    case .replaced(let other, let layers, let from):
      let (source, replacement) = (try made(by: other, pair), try made(by: from, pair))
      try add(
        title, ReplaceLayers(base: experiment.base.source, lora: source, other: replacement, layers: layers, output: output),
        record: record)
    }
    return [WeightedFile(merged)]
  }

  /// What a row makes of a pair, made first wherever in the file the row stands.
  private mutating func made(by name: String, _ pair: Experiment.Pair) throws -> String {
    let row = experiment.rows.first { $0.name == name }!
    let file = "\(folder(row, pair))/merged.safetensors"
    _ = try loras(row, pair, merged: file)
    return file
  }

  private static let zipNames = [
    "start": "initial-value", "references": "reference-count", "reference-guidance": "sampling.guidance",
  ]

  private func zipping(
    _ zip: Experiment.Zip, _ pair: Experiment.Pair, _ others: [Experiment.Material], _ loras: [WeightedFile],
    _ output: AdapterOutput
  ) -> ZipAdapters {
    let sides = Swift.zip([pair.subject, pair.style] + others, loras).map { material, lora in
      ZipAdapters.Side(
        lora: lora, images: zip.references == .pictures ? material.images : nil, prompt: material.prompt,
        referencePrompts: zip.usesReferencePrompts ? material.referencePrompts : [])
    }
    let references = SampledLatents.Options(
      count: zip.referenceCount, guidance: experiment.sampling.guidance, seed: zip.options.seed)
    return ZipAdapters(
      base: base, subject: sides[0], style: sides[1], others: Array(sides[2...]),
      jointPrompts: zip.usesJointPrompt ? experiment.prompts(.styled, of: pair) : [], size: experiment.size, batch: zip.batch,
      options: zip.options,
      references: SavedReferences(sampling: references, folder: "\(self.output)/references"), output: output)
  }
}

extension Experiment.Training {
  var options: DreamBooth.Options {
    DreamBooth.Options(
      rank: rank, steps: steps, learningRate: LearningRate(peak: learningRate, shape: schedule, warmup: warmup), batch: batch,
      seed: seed)
  }
}
