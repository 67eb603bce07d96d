internal import Diffusion
internal import Foundation
internal import OrderedCollections
internal import SafeTensors
internal import Tokenization
internal import Torch

/// Writes the base as a folder that diffusers' pipeline of its architecture loads.
struct BaseFolder {
  let path: String

  /// Reads one of the configurations that the recipe holds as text.
  static func configuration<Configuration: Decodable>(_ text: String) throws -> Configuration {
    try JSONDecoder().decode(Configuration.self, from: Data(text.utf8))
  }

  func write(tokenizer: CLIPTokenizer, autoencoder: AutoencoderTraining, scalingFactor: Double, base: BaseTraining) throws {
    let architecture = base.recipe.architecture
    for component in architecture.family.textEncoders.map(\.tokenizer) {
      try FileManager.default.createDirectory(atPath: "\(path)/\(component)", withIntermediateDirectories: true)
      try tokenizer.save(to: URL(fileURLWithPath: "\(path)/\(component)"), overwrite: true)
    }
    var vae: AutoencoderKL.Configuration = try Self.configuration(BaseConfiguration.vae)
    vae.scalingFactor = scalingFactor
    try write("vae", try JSONText.pretty(vae), autoencoder.store, "diffusion_pytorch_model")
    try write("unet", architecture.unet, base.unetStore, "diffusion_pytorch_model")
    for encoder in base.textEncoders { try write(encoder.folder, encoder.configuration, encoder.store, "model") }
    try FileManager.default.createDirectory(atPath: "\(path)/scheduler", withIntermediateDirectories: true)
    try AtomicFile.write(
      BaseConfiguration.scheduler + "\n", to: "\(path)/scheduler/scheduler_config.json", overwrite: true)
    try AtomicFile.write(architecture.pipeline + "\n", to: "\(path)/model_index.json", overwrite: true)
  }

  /// One component: its configuration and its weights in half precision.
  private func write(_ component: String, _ configuration: String, _ store: WeightStore, _ file: String) throws {
    try FileManager.default.createDirectory(atPath: "\(path)/\(component)", withIntermediateDirectories: true)
    try AtomicFile.write(configuration + "\n", to: "\(path)/\(component)/config.json", overwrite: true)
    let half = store.parameters.mapValues { $0.detached().to(dtype: .float16) }
    try saveSafeTensors(half, metadata: ["format": "pt"], to: "\(path)/\(component)/\(file).safetensors", overwrite: true)
  }

  /// The judge goes with the base that it judges.
  func write(oracle: WeightStore) throws {
    try FileManager.default.createDirectory(atPath: "\(path)/\(Oracle.folder)", withIntermediateDirectories: true)
    let half = oracle.parameters.mapValues { $0.detached().to(dtype: .float16) }
    try saveSafeTensors(half, to: "\(path)/\(Oracle.folder)/\(Oracle.file).safetensors", overwrite: true)
  }

  /// The encoders that give the paper's scores, as transformers saves them.
  func write(clip: CLIPTraining, configuration: String, tokenizer: CLIPTokenizer) throws {
    try write("clip", configuration, clip.store, "model")
    try AtomicFile.write(
      BaseConfiguration.clipPreprocessor + "\n", to: "\(path)/clip/preprocessor_config.json", overwrite: true)
    try tokenizer.save(to: URL(fileURLWithPath: "\(path)/clip"), overwrite: true)
  }

  func write(dino: DINOTraining) throws {
    try write("dino", BaseConfiguration.dino, dino.store, "model")
    try AtomicFile.write(
      BaseConfiguration.dinoPreprocessor + "\n", to: "\(path)/dino/preprocessor_config.json", overwrite: true)
  }
}
