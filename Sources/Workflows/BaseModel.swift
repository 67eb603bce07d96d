internal import Diffusion
internal import Foundation
public import Torch

/// Which base model is used, and how and where it computes.
public struct BaseModel: Codable, Sendable, Equatable {
  /// In the layout of diffusers.
  public var folder: String
  /// In which the networks compute. LoRAs and coefficients are trained in float32 whatever this is.
  public var dtype: DType
  public var device: Device
  /// Threads of one operation; libtorch's choice when nil.
  public var threads: Int?

  public init(_ folder: String, dtype: DType = .float32, device: Device = .cpu, threads: Int? = nil) {
    self.folder = folder
    self.dtype = dtype
    self.device = device
    self.threads = threads
  }

  func validate() throws(SettingError) {
    if let threads { try Demand.atLeast(1, threads, "threads") }
    guard device.isAvailable else {
      throw SettingError("--device \(device): this build of libtorch or this machine has none; use cpu")
    }
  }

  func load() throws -> DiffusionModel {
    if let threads { Engine.threads = threads }
    return try DiffusionModel(folder: folder, dtype: dtype, device: device)
  }

  /// The files that a model can be made of, sorted.
  var files: [String] {
    let parts = ["", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"]
    return parts.flatMap { part -> [String] in
      let path = part.isEmpty ? folder : "\(folder)/\(part)"
      let names = (try? FileManager.default.contentsOfDirectory(atPath: path))?.sorted() ?? []
      // A whole model in one file at the top is not read.
      let kinds = part.isEmpty ? ["model_index.json"] : [".json", ".txt", ".safetensors"]
      return names.filter { name in kinds.contains { name.hasSuffix($0) } }.map { "\(path)/\($0)" }
    }
  }

  /// What tells this base from another without reading gigabytes: names and sizes of its files, and the type.
  var identity: [String] {
    files.map { path in
      let size = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
      return "\(path.dropFirst(folder.count)) \(size)"
    } + ["\(dtype)"]
  }
}

/// A LoRA file and how strongly it acts.
public struct WeightedFile: Codable, Sendable, Equatable {
  public var path: String
  public var weight: Double

  public init(_ path: String, weight: Double = 1) {
    self.path = path
    self.weight = weight
  }

  /// Reads `FILE` or `FILE:WEIGHT`. As a file's name may itself hold a colon, what follows the last one counts as a weight
  /// only if it is a number and there is no file of the whole name.
  public init(argument: String) {
    self.init(argument)
    guard let colon = argument.lastIndex(of: ":"), !Paths.exists(argument),
      let weight = Double(argument[argument.index(after: colon)...])
    else { return }
    self.init(String(argument[..<colon]), weight: weight)
  }

  func validate() throws(SettingError) { try Demand.finite(weight, "lora \(path):") }
}

/// Width and height in pixels; nil for the model's own.
public struct PictureSize: Codable, Sendable, Equatable {
  public var width: Int?
  public var height: Int?

  public init(width: Int? = nil, height: Int? = nil) {
    self.width = width
    self.height = height
  }

  func validate() throws(SettingError) {
    if let width { try Demand.atLeast(1, width, "width") }
    if let height { try Demand.atLeast(1, height, "height") }
  }
}
