internal import OrderedCollections
internal import Torch
internal import Training

/// Trains the oracle on true renders of all scenes, the withheld ones included: it measures, it does not generate.
struct OracleTraining {
  let recipe: BaseRecipe
  let oracle: Oracle
  let store: WeightStore

  init(recipe: BaseRecipe) {
    self.recipe = recipe
    store = WeightStore(.random(Generator(seed: recipe.oracle.seed)))
    oracle = Oracle(store)
  }

  func run(state: String?, progress: ProgressHandler) throws {
    // Only when there are steps left: drawing takes a minute.
    lazy var material = draw()
    let loop = TrainingLoop(phase: "training the oracle", parameters: store.parameters, options: recipe.oracle)
    try loop.run(state: state, identity: recipe.sharedText, progress: progress) {
      let (generator, (pictures, labels)) = (loop.generator, material)
      let chosen = Tensor.randint(0..<pictures.dim(0), [recipe.oracleBatch], generator: generator)
      let batch = Augmentation.softened(AutoencoderTraining.normalized(pictures.gathered(chosen)), generator)
      let logits = mixedPrecision { oracle.logits(batch) }
      return loss(logits, labels.gathered(chosen))
    }
    loop.finish()
  }

  /// Pictures uint8 [N, 3, 64, 64] and answers [N, attributes], −1 where an attribute cannot be seen. Every eighth scene
  /// has a withheld subject or style: what the oracle has to judge in the end.
  private func draw() -> (pictures: Tensor, labels: Tensor) {
    var random = SplitMix64(seed: recipe.oracle.seed)
    var sampler = SceneSampler(random: SplitMix64(seed: random.next()))
    let scenes = sampler.next(recipe.oraclePictures).enumerated().map { index, scene in
      var scene = scene
      if index % 8 == 0 { scene.subject = random.pick(Withheld.subjects) }
      if index % 8 == 4 { scene.style = random.pick(Withheld.styles) }
      return scene
    }
    let labels = scenes.map { scene in Tensor(scene.attributes.map { $0.isVisible ? $0.index : -1 }) }
    return (renderBatch(scenes), Tensor.stacked(labels))
  }

  /// Cross-entropy over what can be seen, the mean of the attributes.
  private func loss(_ logits: [Tensor], _ labels: Tensor) -> Tensor {
    let terms = logits.enumerated().map { index, scores in
      let wanted = labels.select(1, index)
      let visible = (wanted .>= 0).to(dtype: .float32)
      let likelihood = scores.to(dtype: .float32).logSoftmax(1)
        .picked(wanted.clamped(min: 0).to(dtype: .int64).unsqueezed(1), along: 1).squeezed(1)
      return -(likelihood * visible).sum() / visible.sum().clamped(min: 1)
    }
    return Tensor.stacked(terms).mean()
  }
}
