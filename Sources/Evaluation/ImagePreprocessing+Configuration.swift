public import Diffusion
internal import Images

extension ImagePreprocessing {
  public static let file = "preprocessor_config.json"

  /// Reads `preprocessor_config.json` of a model's folder.
  ///
  /// - Parameter processor: which class of transformers it is of where it does not say so itself.
  /// - Throws: `ConfigurationError` for what is not there, not supported, or cannot hold together.
  public init(of folder: ModelFolder, processor: Processor) throws {
    let settings = try folder.configuration(PreprocessorSettings.self, file: Self.file)
    self = try ConfigurationError.naming("\(folder.path)/\(Self.file)") { try settings.preprocessing(default: processor) }
  }
}

/// What a `preprocessor_config.json` says, of today or of a few years ago.
private struct PreprocessorSettings: Decodable {
  /// One number or names of numbers.
  enum SizeSetting: Decodable, CustomStringConvertible {
    case number(Int)
    case named([String: Int])

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let number = try? container.decode(Int.self) {
        self = .number(number)
      } else {
        self = .named(try container.decode([String: Int].self))
      }
    }

    var description: String {
      switch self {
      case .number(let number): "\(number)"
      case .named(let numbers): "\(numbers.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })"
      }
    }
  }

  private enum CodingKeys: String, CodingKey {
    case imageProcessorType = "image_processor_type"
    case featureExtractorType = "feature_extractor_type"
    case size, resample
    case doCenterCrop = "do_center_crop"
    case cropSize = "crop_size"
    case rescaleFactor = "rescale_factor"
    case imageMean = "image_mean"
    case imageStd = "image_std"
  }

  /// The names that a processor has had.
  private enum TypeName: String, CaseIterable {
    case clip = "CLIPImageProcessor"
    case vit = "ViTImageProcessor"
    case bit = "BitImageProcessor"
    case clipFast = "CLIPImageProcessorFast"
    case vitFast = "ViTImageProcessorFast"
    case bitFast = "BitImageProcessorFast"
    case clipFeatureExtractor = "CLIPFeatureExtractor"
    case vitFeatureExtractor = "ViTFeatureExtractor"

    var processor: ImagePreprocessing.Processor {
      switch self {
      case .clip, .clipFast, .clipFeatureExtractor: .clip
      case .vit, .vitFast, .vitFeatureExtractor: .vit
      case .bit, .bitFast: .bit
      }
    }
  }

  private let type: TypeName?
  private let size: SizeSetting?
  private let resample: Int?
  private let doCenterCrop: Bool?
  private let cropSize: SizeSetting?
  private let rescaleFactor: Double?
  private let imageMean: [Double]?
  private let imageStd: [Double]?

  init(from decoder: any Decoder) throws {
    try decoder.requireSupported([
      "do_resize": [.bool(true)], "do_rescale": [.bool(true)], "do_normalize": [.bool(true)], "do_pad": [.bool(false), .null],
    ])
    let container = try decoder.container(keyedBy: CodingKeys.self)
    // The one key or the other, or none.
    func type(_ key: CodingKeys) throws -> TypeName? {
      guard container.contains(key) else { return nil }
      return try container.choice(key, default: TypeName.clip)
    }
    self.type = try type(.imageProcessorType) ?? type(.featureExtractorType)
    size = try container.decodeIfPresent(SizeSetting.self, forKey: .size)
    resample = try container.decodeIfPresent(Int.self, forKey: .resample)
    doCenterCrop = try container.decodeIfPresent(Bool.self, forKey: .doCenterCrop)
    cropSize = try container.decodeIfPresent(SizeSetting.self, forKey: .cropSize)
    rescaleFactor = try container.decodeIfPresent(Double.self, forKey: .rescaleFactor)
    imageMean = try container.decodeIfPresent([Double].self, forKey: .imageMean)
    imageStd = try container.decodeIfPresent([Double].self, forKey: .imageStd)
  }

  /// With the defaults of the class.
  func preprocessing(default processor: ImagePreprocessing.Processor) throws -> ImagePreprocessing {
    let processor = type?.processor ?? processor
    let isViT = processor == .vit
    let result = ImagePreprocessing(
      processor: processor, scaling: try scaling(isSquare: isViT),
      resampling: try resampling(isViT ? .bilinear : .bicubic), centerCrop: try crop(isDefault: !isViT),
      rescaleFactor: rescaleFactor ?? 1 / 255,
      mean: try three(imageMean, "image_mean") ?? (isViT ? [0.5, 0.5, 0.5] : [0.48145466, 0.4578275, 0.40821073]),
      standardDeviation: try three(imageStd, "image_std") ?? (isViT ? [0.5, 0.5, 0.5] : [0.26862954, 0.26130258, 0.27577711]))
    guard let output = result.outputSize else {
      throw ConfigurationError(
        .inconsistent(key: "do_center_crop", found: "false", expected: "true where only the shortest edge is given"))
    }
    let least =
      switch result.scaling {
      case .shortestEdge(let pixels): ImagePreprocessing.Size(height: pixels, width: pixels)
      case .exact(let height, let width): ImagePreprocessing.Size(height: height, width: width)
      }
    try ConfigurationError.require(
      output.height <= least.height && output.width <= least.width, "crop_size", "\(output.height) x \(output.width)",
      "no more than size = \(least.height) x \(least.width)")
    return result
  }

  /// - Parameter isSquare: whether one number is both height and width.
  private func scaling(isSquare: Bool) throws -> ImagePreprocessing.Scaling {
    let size = size ?? .number(224)
    switch size {
    case .number(let number) where number > 0:
      return isSquare ? .exact(height: number, width: number) : .shortestEdge(pixels: number)
    case .named(let numbers) where numbers.values.allSatisfy { $0 > 0 }:
      if numbers.count == 1, let edge = numbers["shortest_edge"] { return .shortestEdge(pixels: edge) }
      if numbers.count == 2, let height = numbers["height"], let width = numbers["width"] {
        return .exact(height: height, width: width)
      }
    default: break
    }
    throw ConfigurationError(
      .unsupported(key: "size", found: "\(size)", supported: ["shortest_edge", "height with width", "a number"]))
  }

  private func crop(isDefault: Bool) throws -> ImagePreprocessing.Size? {
    guard doCenterCrop ?? isDefault else { return nil }
    switch cropSize ?? .number(224) {
    case .number(let number) where number > 0: return .init(height: number, width: number)
    case .named(let numbers):
      if let height = numbers["height"], let width = numbers["width"], height > 0, width > 0 {
        return .init(height: height, width: width)
      }
    default: break
    }
    throw ConfigurationError(
      .unsupported(key: "crop_size", found: cropSize.map { "\($0)" } ?? "null", supported: ["height with width", "a number"]))
  }

  /// Pillow's numbers of its kernels.
  private func resampling(_ standard: Resampling) throws -> Resampling {
    switch resample {
    case nil: return standard
    case 1: return .lanczos
    case 2: return .bilinear
    case 3: return .bicubic
    case let other?:
      throw ConfigurationError(
        .unsupported(key: "resample", found: "\(other)", supported: ["1 (Lanczos)", "2 (bilinear)", "3 (bicubic)"]))
    }
  }

  private func three(_ numbers: [Double]?, _ key: String) throws -> [Double]? {
    guard let numbers else { return nil }
    try ConfigurationError.require(
      numbers.count == 3 && (key != "image_std" || numbers.allSatisfy { $0 > 0 }), key, "\(numbers)",
      key == "image_std" ? "3 numbers above 0" : "3 numbers")
    return numbers
  }
}
