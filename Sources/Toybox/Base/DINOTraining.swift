internal import Diffusion
internal import Evaluation
internal import OrderedCollections
internal import Torch
internal import Training

/// Trains a small DINO (arXiv 2104.14294) on pictures of the world, so that subjects can be compared as the paper does where the truth
/// is known: a student has to say of a cut-out what its own moving average, the teacher, says of another one.
///
/// The teacher's answers are centred by their mean over the batch, the paper's centre without momentum (its section 5.3), so that
/// nothing but the average has to be remembered.
struct DINOTraining {
  let recipe: BaseRecipe
  let model: ViTModel
  let store: WeightStore
  /// Needed for training only.
  private let head: Head
  private let headStore: WeightStore

  /// Cut-outs of a picture, in pixels a side: large ones that the teacher sees, and small ones.
  private static let (globalSides, localSides) = (44..<65, 24..<41)
  private static let (globalSize, localSize) = (64, 32)
  private static let (teacherTemperature, studentTemperature) = (0.05, 0.1)

  /// Class token [N, D] → logits of prototypes (dino: vision_transformer.py DINOHead).
  private struct Head {
    let first: Linear
    let second: Linear
    let prototypes: Linear

    init(_ weights: Weights, width: Int) {
      first = Linear(weights / "first", width, 256)
      second = Linear(weights / "second", 256, 64)
      prototypes = Linear(weights / "prototypes", 64, 512, bias: false)
    }

    func callAsFunction(_ x: Tensor) -> Tensor {
      second(first(x).gelu()).directions.matmul(prototypes.weight.directions.transposed())
    }
  }

  init(recipe: BaseRecipe, configuration: String) throws {
    self.recipe = recipe
    let generator = Generator(seed: recipe.dino.seed)
    store = WeightStore(.random(generator))
    headStore = WeightStore(.random(generator))
    model = try ViTModel(BaseFolder.configuration(configuration), store.root)
    head = Head(headStore.root, width: model.configuration.hiddenSize)
  }

  /// - Parameter pictures: uint8 [N, 3, 64, 64].
  func run(pictures: Tensor, state: String?, progress: ProgressHandler) throws {
    var parameters = store.parameters
    for (path, parameter) in headStore.parameters { parameters["head.\(path)"] = parameter }
    let loop = TrainingLoop(phase: "training DINO", parameters: parameters, options: recipe.dino)
    try loop.run(state: state, identity: recipe.sharedText, progress: progress) {
      let chosen = Tensor.randint(0..<pictures.dim(0), [recipe.dinoBatch], generator: loop.generator)
      let whole = AutoencoderTraining.normalized(pictures.gathered(chosen))
      func views(_ sides: Range<Int>, _ size: Int) -> [Tensor] {
        (0..<2).map { _ in Self.view(of: whole, side: loop.generator.int(in: sides), size: size, loop.generator) }
      }
      let (large, small) = (views(Self.globalSides, Self.globalSize), views(Self.localSides, Self.localSize))
      let answers = withoutGrad { loop.average!.whileApplied { large.map(logits) } }
      let center = Tensor.concatenated(answers).mean([0], keeping: true)
      let targets = answers.map { (($0 - center) / Self.teacherTemperature).softmax(1) }
      let guesses = (large + small).map { (logits($0) / Self.studentTemperature).logSoftmax(1) }
      let terms = targets.indices.flatMap { target in
        guesses.indices.filter { $0 != target }.map { -(targets[target] * guesses[$0]).sum([1]).mean() }
      }
      return Tensor.stacked(terms).mean()
    }
    loop.finish()
  }

  private func logits(_ pixels: Tensor) -> Tensor {
    head(mixedPrecision { model(pixels).select(1, 0) }.to(dtype: .float32))
  }

  /// The same square of each picture, scaled to one size, some mirrored, a little brighter or darker.
  private static func view(of pictures: Tensor, side: Int, size: Int, _ generator: Generator) -> Tensor {
    func start(_ axis: Int) -> Int { generator.int(in: 0..<pictures.dim(axis) - side + 1) }
    let (top, left) = (start(2), start(3))
    let cut = pictures.narrow(2, from: top, count: side).narrow(3, from: left, count: side)
    let gain = Tensor.rand([pictures.dim(0), 1, 1, 1], generator: generator) * 0.4 + 0.8
    return Augmentation.mirrored(cut.resizedBilinear(height: size, width: size) * gain, generator)
  }
}
