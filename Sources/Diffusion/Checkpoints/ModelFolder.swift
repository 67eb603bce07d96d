internal import Foundation
public import OrderedCollections
internal import SafeTensors
public import Torch

/// A folder with one model: `config.json` and weights, as diffusers and transformers save them.
public struct ModelFolder: Sendable {
  public let path: String
  /// Which of several precisions of the weights to read, `fp16` say; nil for the full one, or `fp16` where there is no other.
  public let variant: String?

  /// - Throws: `CheckpointError` where there is no such folder.
  public init(path: String, variant: String? = nil) throws {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
      throw CheckpointError(path: path, reason: .noFolder)
    }
    self.path = path
    self.variant = variant
  }

  /// Reads `config.json`, or a file that has its part in another kind of folder, such as `scheduler_config.json`.
  ///
  /// - Throws: `ConfigurationError` with the file's path.
  public func configuration<Configuration: Decodable>(
    _ type: Configuration.Type, file: String = "config.json"
  ) throws -> Configuration {
    let filePath = "\(path)/\(file)"
    let data: Data
    do {
      data = try Data(contentsOf: URL(fileURLWithPath: filePath))
    } catch {
      throw ConfigurationError(.unreadable(describe(error)), file: filePath)
    }
    return try ConfigurationError.naming(filePath) {
      do {
        let decoder = JSONDecoder()
        // Python writes -Infinity (lambda_min_clipped of DPMSolverMultistepScheduler), which is JSON5.
        decoder.allowsJSON5 = true
        return try decoder.decode(type, from: data)
      } catch let error as DecodingError {
        throw ConfigurationError(.malformed(describe(error)))
      }
    }
  }

  /// Opens the weights: one safetensors file or an index of several.
  ///
  /// - Parameter stem: what the files' names begin with.
  /// - Throws: `CheckpointError`, or `SafeTensorsError` for a broken file.
  public func weights(stem: String) throws -> any TensorCollection {
    let file = try weightsFile(stem)
    return file.hasSuffix(".json")
      ? try ShardedTensors(folder: path, index: file) : try SafeTensorsCollection(path: "\(path)/\(file)")
  }

  /// Paths of the files that `weights` opens: one, or an index and what it lists.
  package func weightFiles(stem: String) throws -> [String] {
    let file = try weightsFile(stem)
    let shards = file.hasSuffix(".json") ? try ShardedTensors(folder: path, index: file).files : []
    return ([file] + shards).map { "\(path)/\($0)" }
  }

  /// The settings and the weights of a network, as far as they are there.
  ///
  /// - Parameter network: its folder in a pipeline, such as `unet`.
  func files(of network: String) -> [String] {
    let stem = network.hasPrefix("text_encoder") ? Self.transformersStem : Self.diffusersStem
    return [configurationFile].filter(Self.isFile) + ((try? weightFiles(stem: stem)) ?? [])
  }

  private func weightsFile(_ stem: String) throws -> String {
    let candidates = (variant.map { [$0] } ?? [nil, "fp16"]).map { Self.weightNames(stem, $0) }
    // Where there are both, diffusers takes the index (models/modeling_utils.py), as saving a large model leaves an older whole file
    // in place; transformers takes the whole file.
    let found = candidates.lazy.compactMap {
      stem == Self.diffusersStem ? $0.last(where: exists) : $0.first(where: exists)
    }.first
    if let found { return found }
    for pickle in ["\(stem).bin", "pytorch_model.bin"] where exists(pickle) {
      throw CheckpointError(path: path, reason: .pickle(file: pickle))
    }
    throw CheckpointError(path: path, reason: .noWeights(expected: Array(candidates.joined())))
  }

  /// One file, or the index of several.
  private static func weightNames(_ stem: String, _ variant: String?) -> [String] {
    let infix = variant.map { ".\($0)" } ?? ""
    return ["\(stem)\(infix).safetensors", "\(stem).safetensors.index\(infix).json"]
  }

  /// What the files of a variant are called, whatever the model.
  static func weightNames(_ variant: String) -> [String] {
    [diffusersStem, transformersStem].flatMap { weightNames($0, variant) }
  }

  /// Whether there are weights in the variant asked for.
  var hasVariant: Bool { variant.map { Self.weightNames($0).contains(where: exists) } ?? false }

  static func isFile(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
  }

  private func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }
}

// MARK: models

extension ModelFolder {
  /// What diffusers' and transformers' files of weights are called.
  private static let diffusersStem = "diffusion_pytorch_model"
  package static let transformersStem = "model"

  package var configurationFile: String { "\(path)/config.json" }

  /// - Throws: `ConfigurationError`, `CheckpointError` where there are no weights, `SafeTensorsError`; so do the following.
  public func unetSource() throws -> ModelSource<UNet2DConditionModel.Configuration> {
    let configuration = try configuration(UNet2DConditionModel.Configuration.self)
    return ModelSource(
      configuration: configuration, file: configurationFile, weights: try weights(stem: Self.diffusersStem))
  }

  public func vaeSource() throws -> ModelSource<AutoencoderKL.Configuration> {
    let configuration = try configuration(AutoencoderKL.Configuration.self)
    let weights = RenamedTensors.ofAutoencoder(try weights(stem: Self.diffusersStem))
    return ModelSource(configuration: configuration, file: configurationFile, weights: weights)
  }

  public func textEncoderSource() throws -> ModelSource<CLIPTextModel.Configuration> {
    let configuration = try configuration(CLIPTextModel.Configuration.self)
    let weights = RenamedTensors.ofTextModel(try weights(stem: Self.transformersStem))
    return ModelSource(configuration: configuration, file: configurationFile, weights: weights)
  }

  /// Loads the weights too; errors as of `ModelSource.load`. So do the following.
  public func unet(dtype: DType = .float32, device: Device = .cpu) throws -> (UNet2DConditionModel, WeightStore) {
    try unetSource().load(dtype: dtype, device: device)
  }

  public func vae(dtype: DType = .float32, device: Device = .cpu) throws -> (AutoencoderKL, WeightStore) {
    try vaeSource().load(dtype: dtype, device: device)
  }

  public func textEncoder(dtype: DType = .float32, device: Device = .cpu) throws -> (CLIPTextModel, WeightStore) {
    try textEncoderSource().load(dtype: dtype, device: device)
  }

  /// Writes a model so that diffusers loads it; `parameters` are those of its `WeightStore`.
  public static func save(
    _ configuration: UNet2DConditionModel.Configuration, _ parameters: OrderedDictionary<String, Tensor>,
    to folder: String, overwrite: Bool = false
  ) throws {
    try save(configuration, parameters, stem: diffusersStem, to: folder, overwrite)
  }

  /// Writes a model so that diffusers loads it.
  public static func save(
    _ configuration: AutoencoderKL.Configuration, _ parameters: OrderedDictionary<String, Tensor>, to folder: String,
    overwrite: Bool = false
  ) throws {
    try save(configuration, parameters, stem: diffusersStem, to: folder, overwrite)
  }

  /// Writes a model so that transformers loads it.
  public static func save(
    _ configuration: CLIPTextModel.Configuration, _ parameters: OrderedDictionary<String, Tensor>, to folder: String,
    overwrite: Bool = false
  ) throws {
    try save(configuration, parameters, stem: transformersStem, to: folder, overwrite)
  }

  private static func save(
    _ configuration: some Encodable, _ parameters: OrderedDictionary<String, Tensor>, stem: String, to folder: String,
    _ overwrite: Bool
  ) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try AtomicFile.write(try JSONText.pretty(configuration), to: "\(folder)/config.json", overwrite: overwrite)
    try saveSafeTensors(
      parameters, metadata: ["format": "pt"], to: "\(folder)/\(stem).safetensors", overwrite: overwrite)
  }
}

/// What an error of Foundation says, in one line.
func describe(_ error: any Error) -> String {
  func place(_ path: [any CodingKey]) -> String { path.map(\.stringValue).joined(separator: ".") }
  switch error {
  case DecodingError.keyNotFound(let key, _): return "\(key.stringValue) is missing"
  case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
    return "\(place(context.codingPath)): \(context.debugDescription)"
  case DecodingError.dataCorrupted(let context): return context.debugDescription
  default: return error.systemReason
  }
}
