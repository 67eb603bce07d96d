internal import Diffusion
internal import Images
internal import OrderedCollections
internal import Torch
internal import Training

/// How well the base draws what its captions say: the oracle's accuracy on generated pictures beside its accuracy on true
/// renders of the same scenes.
struct BaseEvaluation: Codable {
  var pictures: Int
  /// Of the autoencoder's reconstructions, in decibels.
  var reconstructionPSNR: Double
  var generated: Judgement
  var renders: Judgement
  var encoders: EncoderEvaluation

  /// Accuracy on generated pictures as a share of that on true renders.
  func share(_ attribute: Attribute) -> Double? {
    guard let ours = generated.scores[attribute.name], let truth = renders.scores[attribute.name] else { return nil }
    return ours.accuracy / truth.accuracy
  }

  /// Draws scenes that training did not see by their full captions.
  static func run(
    model: DiffusionModel, oracle: Oracle, encoders: EncoderEvaluation, psnr: Double, count: Int, seed: UInt64,
    progress: ProgressHandler
  ) throws -> BaseEvaluation {
    var sampler = SceneSampler(random: SplitMix64(seed: seed))
    let scenes = sampler.next(count)
    let batch = 32
    var pictures: [Tensor] = []
    var timer = StepTimer()
    for start in stride(from: 0, to: count, by: batch) {
      let prompts = scenes[start..<min(start + batch, count)].map(Caption.full)
      var request = TextToImage(prompts: prompts, sampler: .euler, steps: 20, guidance: 4)
      request.seed = seed &+ UInt64(start)
      pictures.append(try request.generate(with: model))
      timer.tick()
      let report = ProgressReport(
        phase: "drawing by captions", step: start + prompts.count, total: count,
        secondsPerStep: timer.secondsPerStep.map { $0 / Double(batch) })
      try report.send(to: progress)
    }
    let truth = renderBatch(scenes).to(dtype: .float32) / 255
    return BaseEvaluation(
      pictures: count, reconstructionPSNR: psnr, generated: oracle.judge(Tensor.concatenated(pictures), truth: scenes),
      renders: oracle.judge(truth, truth: scenes), encoders: encoders)
  }
}
