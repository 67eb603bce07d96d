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

  /// - Parameters:
  ///   - pictures: scaled and cut to the size from the middle.
  ///   - prompts: one for each picture.
  ///   - width: in pixels; nil for the size that the model was trained on, likewise `height`.
  ///   - progress: hears of each picture.
  /// - Throws: `TextToImageError`, `TorchError`; `Interrupted` when the handler answers false.
  public init(
    _ pictures: [Image], prompts: [String], model: DiffusionModel, width: Int? = nil, height: Int? = nil,
    phase: String = "encoding pictures", progress: ProgressHandler = { _ in true }
  ) throws {
    precondition(pictures.count == prompts.count && !pictures.isEmpty, "\(pictures.count) pictures, \(prompts.count) prompts")
    let size = try model.pictureSize(width: width, height: height)
    self.prompts = prompts
    sizes = pictures.map { SizeConditioning(of: $0, width: size.width, height: size.height) }
    var timer = StepTimer()
    let moments = try pictures.enumerated().map { index, picture in
      let moments = try withTorchErrors {
        withoutGrad { Self.moments(of: picture.filling(width: size.width, height: size.height), model) }
      }
      timer.tick()
      let report = ProgressReport(
        phase: phase, step: index + 1, total: pictures.count, secondsPerStep: timer.secondsPerStep)
      try report.send(to: progress)
      return moments
    }
    means = Tensor.concatenated(moments.map(\.mean))
    deviations = Tensor.concatenated(moments.map(\.deviation))
  }

  /// [1, C, h, w] each.
  private static func moments(of picture: Image, _ model: DiffusionModel) -> (mean: Tensor, deviation: Tensor) {
    let store = model.stores["vae"]
    let pixels = (picture.tensor * 2 - 1).unsqueezed(0).to(dtype: store?.dtype ?? .float32, device: store?.device ?? .cpu)
    let posterior = model.vae.encode(pixels)
    let deviation = (posterior.logVariance.to(dtype: .float32) * 0.5).exp()
    return (model.vae.normalized(posterior.mean.to(dtype: .float32)), model.vae.normalizedDeviation(deviation))
  }

  /// Latents of these pictures, drawn anew from the autoencoder's posterior as diffusers' training does.
  func latents(_ indices: [Int], generator: Generator) -> Tensor {
    let noise = Tensor.randn([indices.count] + means.shape.dropFirst(), generator: generator, device: means.device)
    return means.gathered(indices) + deviations.gathered(indices) * noise
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
