internal import Diffusion
internal import Evaluation
internal import OrderedCollections
internal import Torch
internal import Training

/// Trains a small CLIP (arXiv 2103.00020) on pictures of the world and their captions, so that CLIP-I and CLIP-T can be asked where
/// the truth is known. It sees what the base sees: nothing that is withheld.
struct CLIPTraining {
  let recipe: BaseRecipe
  let model: CLIPModel
  let store: WeightStore

  init(recipe: BaseRecipe, configuration: String) throws {
    self.recipe = recipe
    store = WeightStore(.random(Generator(seed: recipe.clip.seed)))
    model = try CLIPModel(BaseFolder.configuration(configuration), store.root)
    // The temperature that CLIP begins with, 1 / 0.07.
    model.logitScale.fillInPlace(2.6592)
  }

  /// - Parameters:
  ///   - pictures: uint8 [N, 3, 64, 64].
  ///   - captions: token ids [N, L].
  func run(pictures: Tensor, captions: Tensor, state: String?, progress: ProgressHandler) throws {
    let loop = TrainingLoop(phase: "training CLIP", parameters: store.parameters, options: recipe.clip)
    try loop.run(state: state, identity: recipe.sharedText, progress: progress) {
      let chosen = Tensor.randint(0..<pictures.dim(0), [recipe.clipBatch], generator: loop.generator)
      let pixels = Augmentation.softened(AutoencoderTraining.normalized(pictures.gathered(chosen)), loop.generator)
      let (images, texts) = mixedPrecision {
        (model.imageEmbeds(Augmentation.mirrored(pixels, loop.generator)), model.textEmbeds(captions.gathered(chosen)))
      }
      // At most 100, as CLIP limits it.
      let scale = model.logitScale.clamped(max: 4.6052).exp()
      let logits = images.directions.matmul(texts.directions.transposed()) * scale
      let own = Tensor.arange(recipe.clipBatch)
      return (logits.crossEntropy(own) + logits.transposed().crossEntropy(own)) / 2
    }
    loop.finish()
  }
}

extension Tensor {
  /// Rows [N, D] of length 1, in float32.
  var directions: Tensor {
    let rows = to(dtype: .float32)
    return rows / rows.norm([1], keeping: true).clamped(min: 1e-6)
  }
}
