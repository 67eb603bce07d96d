public import Diffusion
public import Images
internal import OrderedCollections
internal import Torch

/// Pictures as the autoencoder sees them and prompts as the text encoders see them, computed once for a whole training.
public struct LatentCache {
  /// Mean and standard deviation of each picture's latents, unit variance over all pictures, float32 [N, C, h, w].
  let means: Tensor
  let deviations: Tensor
  public let prompts: [String]
  public let sizes: [SizeConditioning]
  /// Each picture's number, as often as it is shown beside the others.
  private let turns: [Int]
  /// Mean and deviation of the pictures left for right; nil where none are shown so.
  private let flipped: (means: Tensor, deviations: Tensor)?

  /// - Parameters:
  ///   - pictures: scaled and cut to the size from the middle.
  ///   - prompts: one for each picture.
  ///   - repeats: how often each picture is shown beside the others; all alike when nil.
  ///   - flips: whether half of the time pictures are shown left for right.
  ///   - width: in pixels; nil for the size that the model was trained on, likewise `height`.
  ///   - progress: hears of each picture.
  /// - Throws: `TextToImageError`, `TorchError`; `Interrupted` when the handler answers false.
  public init(
    _ pictures: [Image], prompts: [String], repeats: [Int]? = nil, flips: Bool = false, model: DiffusionModel,
    width: Int? = nil, height: Int? = nil, phase: String = "encoding pictures", progress: ProgressHandler = { _ in true }
  ) throws {
    let repeats = repeats ?? pictures.map { _ in 1 }
    precondition(pictures.count == prompts.count && !pictures.isEmpty, "\(pictures.count) pictures, \(prompts.count) prompts")
    precondition(repeats.count == pictures.count && repeats.allSatisfy { $0 > 0 }, "\(pictures.count) pictures, \(repeats)")
    let size = try model.pictureSize(width: width, height: height)
    self.prompts = prompts
    sizes = pictures.map { SizeConditioning(of: $0, width: size.width, height: size.height) }
    turns = repeats.enumerated().flatMap { Array(repeating: $0.offset, count: $0.element) }
    var timer = StepTimer()
    let moments = try pictures.enumerated().map { index, picture in
      let moments = try withTorchErrors {
        withoutGrad {
          let pixels = picture.filling(width: size.width, height: size.height).tensor
          return ([pixels] + (flips ? [pixels.flipped([2])] : [])).map { Self.moments(of: $0, model) }
        }
      }
      timer.tick()
      let report = ProgressReport(
        phase: phase, step: index + 1, total: pictures.count, secondsPerStep: timer.secondsPerStep)
      try report.send(to: progress)
      return moments
    }
    func joined(_ side: Int) -> (means: Tensor, deviations: Tensor) {
      (Tensor.concatenated(moments.map { $0[side].mean }), Tensor.concatenated(moments.map { $0[side].deviation }))
    }
    (means, deviations) = joined(0)
    flipped = flips ? joined(1) : nil
  }

  /// [1, C, h, w] each, of a picture [3, H, W] in 0...1.
  private static func moments(of picture: Tensor, _ model: DiffusionModel) -> (mean: Tensor, deviation: Tensor) {
    let store = model.stores["vae"]
    let pixels = (picture * 2 - 1).unsqueezed(0).to(dtype: store?.dtype ?? .float32, device: store?.device ?? .cpu)
    let posterior = model.vae.encode(pixels)
    let deviation = (posterior.logVariance.to(dtype: .float32) * 0.5).exp()
    return (model.vae.normalized(posterior.mean.to(dtype: .float32)), model.vae.normalizedDeviation(deviation))
  }

  /// Numbers of pictures for a step of a training, each as often as it is to be shown.
  func choice(of count: Int, generator: Generator) -> [Int] {
    Tensor.randint(0..<turns.count, [count], generator: generator).ints().map { turns[$0] }
  }

  /// Latents of these pictures, drawn anew from the autoencoder's posterior as diffusers' training does.
  func latents(_ indices: [Int], generator: Generator) -> Tensor {
    let noise = Tensor.randn([indices.count] + means.shape.dropFirst(), generator: generator, device: means.device)
    let own = means.gathered(indices) + deviations.gathered(indices) * noise
    guard let flipped else { return own }
    let isFlipped = Tensor.randint(0..<2, [indices.count, 1, 1, 1], generator: generator).to(device: means.device)
    let others = flipped.means.gathered(indices) + flipped.deviations.gathered(indices) * noise
    return (isFlipped .== 1).choose(others, own)
  }
}

extension SizeConditioning {
  /// What SDXL is told about a picture that was scaled to fill a size and cut from the middle.
  fileprivate init(of picture: Image, width: Int, height: Int) {
    let scale = max(Double(width) / Double(picture.width), Double(height) / Double(picture.height))
    let top = (Double(picture.height) * scale - Double(height)) / 2
    let left = (Double(picture.width) * scale - Double(width)) / 2
    self.init(
      original: (picture.height, picture.width), crop: (Int(top.rounded()), Int(left.rounded())), target: (height, width))
  }
}
