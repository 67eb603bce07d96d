internal import Diffusion
public import Evaluation
internal import Hub
internal import Images
internal import OrderedCollections
internal import SafeTensors
public import Torch
public import Training

/// `ziplora evaluate`: the paper's three scores of pictures: CLIP-I with a style's pictures, CLIP-T with the prompts, DINO with
/// a subject's pictures.
public struct EvaluatePictures: Workflow {
  public static let name = "evaluate"

  /// What is judged.
  public var pictures: PictureSource
  public var subjectImages: String?
  public var styleImages: String?
  /// A CLIPModel: a folder in the layout of transformers, or an id of the Hugging Face hub; likewise `dino`.
  public var clip: String?
  /// A ViTModel or Dinov2Model.
  public var dino: String?
  /// Left out of the prompts for a second CLIP-T.
  public var rareTokens: RareTokens
  public var device: Device
  /// Threads of one operation; libtorch's choice when nil.
  public var threads: Int?
  /// Where the report goes; nil for nowhere.
  public var json: String?
  public var overwrite: Bool

  public init(
    pictures: PictureSource, subjectImages: String? = nil, styleImages: String? = nil, clip: String? = nil,
    dino: String? = nil, rareTokens: RareTokens = .init(["sbu", "szn"]), device: Device = .cpu, threads: Int? = nil,
    json: String? = nil, overwrite: Bool = false
  ) {
    self.pictures = pictures
    self.subjectImages = subjectImages
    self.styleImages = styleImages
    self.clip = clip
    self.dino = dino
    self.rareTokens = rareTokens
    self.device = device
    self.threads = threads
    self.json = json
    self.overwrite = overwrite
  }

  public func validate() throws {
    if let threads { try Demand.atLeast(1, threads, "threads", atMost: 1024) }
    try Demand.available(device)
    guard clip != nil || dino != nil else {
      throw SettingError(
        """
        no model to judge with; give --clip (such as openai/clip-vit-large-patch14) for text and style, --dino (such as \
        facebook/dino-vits16) for the subject, or both
        """)
    }
    if styleImages != nil, clip == nil { throw SettingError("--style-images needs --clip, whose embeddings are compared") }
    if (subjectImages == nil) != (dino == nil) {
      throw SettingError("--subject-images and --dino need each other: DINO compares the pictures with the subject's")
    }
    guard let json else { return }
    let read = [("pictures", pictures.path), ("subject-images", subjectImages), ("style-images", styleImages)]
    try Demand.outside(read, json, "json")
    try Demand.apart(json, "json", from: read.map(\.1), expected: "another file than the pictures that are read")
  }

  /// Finds the models, for work that comes to its pictures late.
  ///
  /// - Throws: `SettingError` for what is no model of its kind; what the hub throws.
  package func checkModels(progress: ProgressHandler) throws { try Judges.check(self, progress) }

  /// - Returns: the scores.
  public func perform(progress: ProgressHandler) throws -> PictureScores {
    let began = ContinuousClock.now
    if let json { try Paths.checkWritable([json, Paths.record(of: json)], overwrite: overwrite) }
    if let threads { Engine.threads = threads }
    let material = try Material(self)
    let judges = try Judges(self, progress)
    if let warning = judges.overflow(of: material) { _ = progress(warning) }
    let scores = try material.scores(by: judges, progress)
    if let json {
      try AtomicFile.write(JSONText.pretty(scores) + "\n", to: json, overwrite: overwrite)
      try RunRecord(self, inputs: material.inputs + scores.models.flatMap(\.files), outputs: [json], began: began)
        .write(to: Paths.record(of: json), overwrite: overwrite)
    }
    return scores
  }
}

private typealias NamedImage = (file: String, image: Image)

/// What is judged, read.
private struct Material {
  let pictures: [PictureSource.Picture]
  let subject: [NamedImage]
  let style: [NamedImage]
  /// One for each picture; nil where no CLIP asks for them.
  let prompts: [String]?
  let rareTokens: RareTokens
  /// The pictures, and the files that prompts come from.
  let inputs: [FileDigest]

  init(_ workflow: EvaluatePictures) throws {
    func references(_ path: String?) throws -> [NamedImage] {
      try path.map { try PictureSource($0).read().pictures.map { ($0.file, $0.image) } } ?? []
    }
    let found = try workflow.pictures.read()
    pictures = found.pictures
    let captions = workflow.clip != nil && workflow.pictures.prompt == nil ? found.captions : []
    subject = try references(workflow.subjectImages)
    style = try references(workflow.styleImages)
    inputs = try (pictures.map(\.file) + captions + subject.map(\.file) + style.map(\.file)).map(FileDigest.init)
    rareTokens = workflow.rareTokens
    guard workflow.clip != nil else {
      prompts = nil
      return
    }
    prompts = try pictures.map { picture in
      guard
        let prompt = workflow.pictures.givenPrompt ?? picture.caption ?? PictureMetadata.prompt(ofPicture: picture.file)
      else {
        throw SettingError(
          """
          \(picture.file) has no prompt, which CLIP-T compares it with; give one with --prompt, or write one into \
          \(Paths.stem(picture.file)).txt
          """)
      }
      return prompt
    }
  }

  /// Each prompt, and what is left of it without rare tokens.
  var texts: OrderedSet<String> {
    let prompts = prompts ?? []
    return OrderedSet(prompts + prompts.compactMap(rareTokens.removed))
  }

  func scores(by judges: Judges, _ progress: ProgressHandler) throws -> PictureScores {
    let total =
      (judges.clip == nil ? 0 : pictures.count + style.count) + (judges.dino == nil ? 0 : pictures.count + subject.count)
    var timer = StepTimer()
    var done = 0
    func directions(_ images: [NamedImage], _ encoder: any ImageEncoder) throws -> [Tensor] {
      try images.map { file, image in
        guard encoder.preprocessing.scaledPixelCount(of: image) <= Double(Image.maximumPixelCount) else {
          throw SettingError(
            "\(file): \(image.width) x \(image.height) pixels are too many once its shorter side is scaled as the model's is; crop it"
          )
        }
        let report = ProgressReport(
          phase: "looking at pictures", step: done, total: total, secondsPerStep: timer.secondsPerStep)
        try report.send(to: progress)
        let direction = try withTorchErrors { encoder.direction(of: image) }
        timer.tick()
        done += 1
        return direction
      }
    }
    var result = PictureScores(
      clip: judges.clip?.description, dino: judges.dino?.description,
      pictures: pictures.enumerated().map { .init(file: $1.file, prompt: prompts?[$0]) },
      subjectImages: subject.map(\.file), styleImages: style.map(\.file))
    if let clip = judges.clip?.encoder, let prompts {
      let shown = try directions(pictures.map { ($0.file, $0.image) }, clip)
      let references = try directions(style, clip)
      if !references.isEmpty { result.add(.style, Alignment.means(of: shown, with: references)) }
      let texts = OrderedDictionary(
        uniqueKeysWithValues: try texts.map { text in (text, try withTorchErrors { clip.direction(of: text) }) })
      result.add(.text, Alignment.cosines(of: shown, with: prompts.map { texts[$0]! }))
      let plain = prompts.map(rareTokens.removed)
      for index in pictures.indices { result.pictures[index].plainPrompt = plain[index] }
      if plain.contains(where: { $0 != nil }) {
        let compared = zip(prompts, plain).map { texts[$1 ?? $0]! }
        result.add(.plainText, Alignment.cosines(of: shown, with: compared))
      }
    }
    if let dino = judges.dino?.encoder {
      let shown = try directions(pictures.map { ($0.file, $0.image) }, dino)
      result.add(.subject, Alignment.means(of: shown, with: try directions(subject, dino)))
    }
    _ = progress(ProgressReport(phase: "looking at pictures", step: total, total: total))
    return result
  }
}

/// The models, loaded.
private struct Judges {
  struct Judge<Encoder> {
    let encoder: Encoder
    let description: PictureScores.Model
  }

  let clip: Judge<CLIPEncoder>?
  let dino: Judge<any ImageEncoder>?

  init(_ workflow: EvaluatePictures, _ progress: ProgressHandler) throws {
    clip = try workflow.clip.map { source in
      let (folder, kind) = try Self.find(source, "clip", Self.clipKinds, progress)
      let encoder = try withTorchErrors { try CLIPEncoder(folder, device: workflow.device) }
      return Judge(encoder: encoder, description: try .init(source, kind, encoder.preprocessing, folder))
    }
    dino = try workflow.dino.map { source in
      let (folder, kind) = try Self.find(source, "dino", Self.dinoKinds, progress)
      let encoder = try ImageEncoders.load(folder, device: workflow.device)
      return Judge(encoder: encoder, description: try .init(source, kind, encoder.preprocessing, folder))
    }
  }

  private static let clipKinds = [ImageEncoders.clip]
  private static let dinoKinds = ImageEncoders.all.filter { $0.modelType != ImageEncoders.clip.modelType }

  static func check(_ workflow: EvaluatePictures, _ progress: ProgressHandler) throws {
    if let clip = workflow.clip { _ = try find(clip, "clip", clipKinds, progress) }
    if let dino = workflow.dino { _ = try find(dino, "dino", dinoKinds, progress) }
  }

  /// The folder of a model of one of these kinds, on this disk or fetched.
  private static func find(
    _ source: String, _ option: String, _ kinds: [ImageEncoderKind], _ progress: ProgressHandler
  ) throws -> (ModelFolder, ImageEncoderKind) {
    let texts = kinds.contains { $0.modelType == ImageEncoders.clip.modelType }
    let path = try Hub().local(source, .imageEncoder(texts: texts), progress)
    guard Paths.isFolder(path) else {
      let example = texts ? "openai/clip-vit-large-patch14" : "facebook/dino-vits16"
      throw SettingError(
        option, source,
        expected: "a folder in the layout of transformers, or an id of the Hugging Face hub, such as \(example)")
    }
    let folder = try ModelFolder(path: path)
    let kind = try ImageEncoders.kind(of: folder)
    guard kinds.contains(where: { $0.modelType == kind.modelType }) else {
      let expected = kinds.map { "a \($0.architecture)" }.joined(separator: " or ")
      throw SettingError(option, source, expected: "\(expected), found a \(kind.architecture)")
    }
    return (folder, kind)
  }

  /// Warns of the ends of texts that CLIP cannot read; nil where all fit.
  func overflow(of material: Material) -> ProgressReport? {
    guard let clip = clip?.encoder else { return nil }
    let warnings = material.texts.compactMap { text in
      clip.overflow(of: text).map { "the prompt is too long for CLIP, which does not read its end: \"\($0)\"" }
    }
    return warnings.isEmpty ? nil : ProgressReport(phase: "reading prompts", step: 1, total: 1, warnings: warnings)
  }
}
