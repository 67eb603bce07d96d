internal import OrderedCollections
public import Torch

/// A network that can be loaded: what it is and where its weights are.
public struct ModelSource<Configuration> {
  public internal(set) var configuration: Configuration
  /// Where the configuration stands, for messages.
  let file: String
  /// Opened, but not read.
  let weights: any TensorCollection

  package init(configuration: Configuration, file: String, weights: any TensorCollection) {
    self.configuration = configuration
    self.file = file
    self.weights = weights
  }

  /// - Parameter ignored: tells keys of the weights that the model has no use for.
  /// - Throws: `ConfigurationError`, `SafeTensorsError`, `LoadingError` where weights and configuration do not fit exactly,
  ///   `TorchError` where memory is short.
  package func load<Model>(
    _ dtype: DType, _ device: Device, ignoring ignored: (String) -> Bool = { _ in false },
    _ make: (Configuration, Weights) throws -> Model
  ) throws -> (Model, WeightStore) {
    try withTorchErrors {
      let store = WeightStore(.collection(weights), dtype: dtype, device: device)
      let model = try ConfigurationError.naming(file) { try make(configuration, store.root) }
      try store.finish(ignoring: ignored)
      return (model, store)
    }
  }
}

extension ModelSource<UNet2DConditionModel.Configuration> {
  /// Reads the weights, one layer after the other.
  ///
  /// - Throws: `ConfigurationError`, `SafeTensorsError`, `LoadingError` where weights and configuration do not fit exactly,
  ///   `TorchError` where memory is short; so do the following.
  public func load(dtype: DType, device: Device) throws -> (UNet2DConditionModel, WeightStore) {
    try load(dtype, device) { try UNet2DConditionModel($0, $1) }
  }
}

extension ModelSource<AutoencoderKL.Configuration> {
  public func load(dtype: DType, device: Device) throws -> (AutoencoderKL, WeightStore) {
    try load(dtype, device) { try AutoencoderKL($0, $1) }
  }
}

extension ModelSource<CLIPTextModel.Configuration> {
  public func load(dtype: DType, device: Device) throws -> (CLIPTextModel, WeightStore) {
    // A buffer of 0, 1, 2 … that older files carry, and the projection of a model that does without.
    try load(dtype, device, ignoring: { ["text_model.embeddings.position_ids", "text_projection.weight"].contains($0) }) {
      try CLIPTextModel($0, $1)
    }
  }
}

/// The keys of the parameters that a model of some configuration has, in its order. Nothing is allocated for it.
func parameterNames<Model>(_ make: (Weights) throws -> Model) rethrows -> [String] {
  let store = WeightStore(.shapes, device: .meta)
  _ = try make(store.root)
  return Array(store.parameters.keys)
}
