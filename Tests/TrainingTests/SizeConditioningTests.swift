import Diffusion
import Images
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch
import Training

/// What SDXL is told of pictures that are scaled and cut for it.
@Suite struct SizeConditioningTests {
  private struct Example {
    let picture: (width: Int, height: Int)
    let target: (width: Int, height: Int)
    /// Height and width before, top and left of the cut, height and width of what is left.
    let numbers: [Int]
  }

  private let examples = [
    // Scaled to 107 × 64.
    Example(picture: (100, 60), target: (64, 64), numbers: [60, 100, 0, 21, 64, 64]),
    Example(picture: (60, 100), target: (64, 64), numbers: [100, 60, 21, 0, 64, 64]),
    // Scaled to 160 × 96.
    Example(picture: (100, 60), target: (48, 96), numbers: [60, 100, 0, 56, 96, 48]),
  ]

  @Test("sizes before and after, and the corner of the cut, in the order of the U-Net")
  func numbers() throws {
    let model = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl")
    for example in examples {
      let picture = Image(width: example.picture.width, height: example.picture.height, color: .black)
      let cache = try LatentCache(
        [picture], prompts: ["a cat"], model: model, width: example.target.width, height: example.target.height)
      let size = try #require(cache.sizes.first)
      let numbers = [
        size.originalHeight, size.originalWidth, size.cropTop, size.cropLeft, size.targetHeight, size.targetWidth,
      ]
      #expect(numbers == example.numbers)
      let told = try #require(model.conditioning(["a cat"], sizes: size).added).timeIds
      #expect(told.shape == [1, 6] && told.ints() == example.numbers, "\(told)")
    }
  }
}

/// What the options of a training loop make of the losses of a step.
@Suite struct TrainingOptionTests {
  /// Of three steps two each.
  private let targets: [[Float]] = [[0, -0.5, 2.5], [0.5, -2, 1], [2, -3, 1], [-0.2, -0.2, 2], [4, 0, -2], [1, 3, 0]]

  /// Fits a point to the targets of each step.
  ///
  /// - Parameter share: what the sum of the two losses of a step is divided by, where they are one loss.
  private func fit(accumulation: Int, share: Double = 1) throws -> (point: Tensor, losses: Tensor) {
    let point = Tensor([0.5, -1, 2] as [Float])
    let loop = TrainingLoop(
      phase: "fitting a point", parameters: ["point": point],
      options: .init(
        steps: 3, learningRate: LearningRate(peak: 0.1), weightDecay: 0, accumulation: accumulation, gradientLimit: 2))
    var batch = 0
    func next() -> Tensor {
      batch += 1
      return (point - Tensor(targets[batch - 1])).square().sum()
    }
    try loop.run(state: nil, progress: { _ in true }) {
      guard accumulation == 1 else { return next() }
      let (first, second) = (next(), next())
      return (first + second) / share
    }
    #expect(batch == 6)
    return (point.detached(), Tensor(loop.losses))
  }

  @Test("batches that are added up for one step count as one with the mean of their losses")
  func accumulation() throws {
    let (found, expected) = (try fit(accumulation: 2), try fit(accumulation: 1, share: 2))
    let (error, lossError) = (difference(found.point, expected.point), difference(found.losses, expected.losses))
    #expect(error < 1e-6, "\(error)")
    #expect(lossError < 1e-6, "\(lossError)")
    // Adam itself does not mind the size of gradients, but the limit does: the sum of both would be cut one step earlier.
    #expect(try difference(fit(accumulation: 1).point, expected.point) > 1e-3)
  }

  @Test("weights decay by their share of the learning rate")
  func weightDecay() throws {
    let values: [Double] = [0.5, -1, 2]
    let parameter = Tensor(values).to(dtype: .float32)
    let loop = TrainingLoop(
      phase: "decaying", parameters: ["x": parameter],
      options: .init(steps: 1, learningRate: LearningRate(peak: 0.1), weightDecay: 0.5))
    try loop.run(state: nil, progress: { _ in true }) { (parameter * 0).sum() }
    let error = difference(parameter.detached(), Tensor(values.map { $0 * (1 - 0.1 * 0.5) }))
    #expect(error < 1e-6, "\(error)")
  }
}
