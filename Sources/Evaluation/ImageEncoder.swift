public import Diffusion
internal import Foundation
public import Images
internal import Tokenization
public import Torch

/// A network that makes vectors of pictures, such that pictures of the same things point the same way.
public protocol ImageEncoder: AnyObject {
  var device: Device { get }
  var preprocessing: ImagePreprocessing { get }

  /// Pixels [N, 3, H, W] → embeddings [N, D] of any length.
  func embeddings(of pixels: Tensor) -> Tensor
}

extension ImageEncoder {
  /// The direction in which a picture lies, [D] of length 1, in float32.
  public func direction(of image: Image) -> Tensor {
    withoutGrad { embeddings(of: preprocessing(image).to(device: device)).direction }
  }
}

/// A kind of model that pictures can be compared with.
public struct ImageEncoderKind: Sendable {
  /// As in the `config.json` of its models.
  public let modelType: String
  /// transformers' class.
  public let architecture: String
  /// What the cosine of its embeddings is called in papers. Scores of different names cannot be compared.
  public let score: String
  /// What is taken as the embedding.
  public let embedding: String
  let load: @Sendable (ModelFolder, Device) throws -> any ImageEncoder
}

/// The kinds of image encoders.
public enum ImageEncoders {
  public static let all = [clip, vit, dinov2]

  public static let clip = ImageEncoderKind(
    modelType: "clip", architecture: "CLIPModel", score: "CLIP-I",
    embedding: "class token through the last norm and the visual projection"
  ) { folder, device in
    try CLIPEncoder(folder, device: device)
  }

  public static let vit = ImageEncoderKind(
    modelType: "vit", architecture: "ViTModel", score: "DINO", embedding: "class token of the last layer through the last norm"
  ) { folder, device in
    let (model, _) = try folder.vit(device: device)
    let preprocessing = try ImagePreprocessing(of: folder, processor: .vit)
    try preprocessing.require(imageSize: model.configuration.imageSize, in: folder)
    return ClassTokenEncoder(model.callAsFunction, preprocessing, device)
  }

  public static let dinov2 = ImageEncoderKind(
    modelType: "dinov2", architecture: "Dinov2Model", score: "DINOv2",
    embedding: "class token of the last layer through the last norm"
  ) { folder, device in
    let (model, _) = try folder.dinov2(device: device)
    let preprocessing = try ImagePreprocessing(of: folder, processor: .bit)
    return ClassTokenEncoder(model.callAsFunction, preprocessing, device)
  }

  /// The kind of the model in a folder.
  ///
  /// - Throws: `ConfigurationError` where `config.json` names none of them.
  public static func kind(of folder: ModelFolder) throws -> ImageEncoderKind {
    let type = try folder.configuration(ModelType.self).model_type
    guard let kind = all.first(where: { $0.modelType == type }) else {
      let problem = ConfigurationError.Problem.unsupported(
        key: "model_type", found: type.map { "\"\($0)\"" } ?? "missing", supported: all.map { "\"\($0.modelType)\"" })
      throw ConfigurationError(problem, file: "\(folder.path)/config.json")
    }
    return kind
  }

  /// Loads whichever kind of model is in a folder, in float32.
  ///
  /// - Throws: `ConfigurationError`, `CheckpointError` where there are no weights, `SafeTensorsError`, `LoadingError`,
  ///   `TokenizerError` for a CLIP.
  public static func load(_ folder: ModelFolder, device: Device = .cpu) throws -> any ImageEncoder {
    try withTorchErrors { try kind(of: folder).load(folder, device) }
  }

  private struct ModelType: Decodable {
    let model_type: String?
  }
}

/// CLIP, which knows texts as well.
public final class CLIPEncoder: ImageEncoder {
  public let device: Device
  public let preprocessing: ImagePreprocessing
  private let model: CLIPModel
  private let tokenizer: CLIPTokenizer

  /// - Throws: as `ImageEncoders.load`.
  public init(_ folder: ModelFolder, device: Device = .cpu) throws {
    self.device = device
    (model, _) = try folder.clip(device: device)
    preprocessing = try ImagePreprocessing(of: folder, processor: .clip)
    try preprocessing.require(imageSize: model.configuration.visionConfig.imageSize, in: folder)
    tokenizer = try CLIPTokenizer(folder: URL(filePath: folder.path))
    let (ids, known) = (tokenizer.count, model.configuration.textConfig.vocabSize)
    try ConfigurationError.naming("\(folder.path)/config.json") {
      try ConfigurationError.require(
        ids <= known, "vocab_size", "\(known)", "at least the \(ids) tokens of the tokenizer beside it")
    }
  }

  public func embeddings(of pixels: Tensor) -> Tensor { model.imageEmbeds(pixels) }

  /// The direction in which a text lies, [D] of length 1. What is too long for the model is cut off.
  public func direction(of text: String) -> Tensor {
    let ids = tokenizer.encoding(of: text, maxLength: length).inputIDs
    return withoutGrad { model.textEmbeds(Tensor(ids, shape: [1, ids.count]).to(device: device)).direction }
  }

  /// The end of a text that the model does not read, in the tokenizer's spelling; nil for one that fits.
  public func overflow(of text: String) -> String? { tokenizer.overflow(of: text, maxLength: length) }

  private var length: Int { min(tokenizer.configuration.modelMaxLength, model.configuration.textConfig.maxPositionEmbeddings) }
}

/// Takes the class token of what a vision transformer makes of pictures.
private final class ClassTokenEncoder: ImageEncoder {
  let device: Device
  let preprocessing: ImagePreprocessing
  private let model: (Tensor) -> Tensor

  /// - Parameter model: pixels [N, 3, H, W] → [N, 1 + patches, D].
  init(_ model: @escaping (Tensor) -> Tensor, _ preprocessing: ImagePreprocessing, _ device: Device) {
    self.model = model
    self.preprocessing = preprocessing
    self.device = device
  }

  func embeddings(of pixels: Tensor) -> Tensor { model(pixels).select(1, 0) }
}

extension ImagePreprocessing {
  /// Checks that what comes out is what a model of one size takes.
  fileprivate func require(imageSize: Int, in folder: ModelFolder) throws {
    try ConfigurationError.naming("\(folder.path)/config.json") {
      try ConfigurationError.require(
        outputSize == Size(height: imageSize, width: imageSize), "image_size", "\(imageSize)",
        outputSize.map { "the \($0.width) x \($0.height) of \(Self.file)" } ?? "one size")
    }
  }
}

extension Tensor {
  /// [1, D] → [D] of length 1, on the CPU.
  fileprivate var direction: Tensor {
    let vector = squeezed(0).to(dtype: .float32, device: .cpu)
    return vector / vector.norm()
  }
}
