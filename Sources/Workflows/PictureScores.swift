internal import Diffusion
public import Evaluation
internal import Tokenization

/// What `EvaluatePictures` finds, with all that it depends on.
public struct PictureScores: Codable, Sendable, Equatable {
  /// A model that judged.
  public struct Model: Codable, Sendable, Equatable {
    /// As the user gave it.
    public let source: String
    /// transformers' class.
    public let architecture: String
    public let embedding: String
    public let preprocessing: ImagePreprocessing
    /// Configurations, the tokenizer of a model that knows texts, and weights.
    public let files: [FileDigest]

    init(
      _ source: String, _ kind: ImageEncoderKind, _ preprocessing: ImagePreprocessing, _ folder: ModelFolder
    ) throws {
      self.source = source
      architecture = kind.architecture
      embedding = kind.embedding
      self.preprocessing = preprocessing
      let configurations = [folder.configurationFile, "\(folder.path)/\(ImagePreprocessing.file)"]
      let tokenizer = kind.modelType == ImageEncoders.clip.modelType ? CLIPTokenizer.files(in: folder.path) : []
      files = try (configurations + tokenizer + folder.weightFiles(stem: ModelFolder.transformersStem)).map(FileDigest.init)
    }

    /// Of the weights.
    public var weights: [FileDigest] { files.filter { $0.path.hasSuffix(".safetensors") } }
  }

  public enum Measure: String, Codable, Sendable {
    /// Cosines with the style's pictures.
    case style
    /// Cosine with the prompt.
    case text
    /// Cosine with what is left of the prompt without rare tokens.
    case plainText
    /// Cosines with the subject's pictures.
    case subject
  }

  /// A score over all pictures.
  public struct Score: Codable, Sendable, Equatable {
    /// As papers call it: CLIP-I, CLIP-T, DINO, DINOv2.
    public let name: String
    public let measure: Measure
    public let estimate: Estimate
  }

  /// A picture and its own scores; nil where they were not asked for.
  public struct Picture: Codable, Sendable, Equatable {
    public let file: String
    public let prompt: String?
    /// The prompt without rare tokens; nil where it has none.
    public var plainPrompt: String?
    public var style: Double?
    public var text: Double?
    public var plainText: Double?
    public var subject: Double?

    init(file: String, prompt: String?) {
      self.file = file
      self.prompt = prompt
    }

    fileprivate subscript(measure: Measure) -> Double? {
      get {
        switch measure {
        case .style: style
        case .text: text
        case .plainText: plainText
        case .subject: subject
        }
      }
      set {
        switch measure {
        case .style: style = newValue
        case .text: text = newValue
        case .plainText: plainText = newValue
        case .subject: subject = newValue
        }
      }
    }
  }

  public let clip: Model?
  public let dino: Model?
  public private(set) var scores: [Score] = []
  public var pictures: [Picture]
  /// Files that the pictures were compared with.
  public let subjectImages: [String]
  public let styleImages: [String]

  init(clip: Model?, dino: Model?, pictures: [Picture], subjectImages: [String], styleImages: [String]) {
    self.clip = clip
    self.dino = dino
    self.pictures = pictures
    self.subjectImages = subjectImages
    self.styleImages = styleImages
  }

  /// What the cosine with the prompt is called.
  package static let textScore = "CLIP-T"

  /// Of every picture.
  package func values(_ measure: Measure) -> [Double] { pictures.compactMap { $0[measure] } }

  public var models: [Model] { [clip, dino].compactMap { $0 } }

  /// - Parameter values: one for each picture.
  mutating func add(_ measure: Measure, _ values: [Double]) {
    for (index, value) in values.enumerated() { pictures[index][measure] = value }
    let name =
      switch measure {
      case .style: ImageEncoders.clip.score
      case .text, .plainText: Self.textScore
      case .subject: ImageEncoders.all.first { $0.architecture == dino?.architecture }?.score ?? ImageEncoders.vit.score
      }
    scores.append(Score(name: name, measure: measure, estimate: Estimate(of: values)))
  }
}
