internal import Diffusion
internal import Images
internal import Torch
internal import Training

/// The sampler of prior and sample pictures, and how many steps it is given: what Euler's method takes half as many again for.
let drawingSampler = Sampler.dpmSolverMultistep
let drawingSteps = 20

/// Draws pictures one after another.
///
/// - Parameters:
///   - requests: of one picture each.
///   - state: where they are kept.
///   - progress: hears of each step of the sampler.
///   - keep: gets each with its place.
/// - Throws: `Interrupted` when the handler answers false; what drawing and `keep` throw.
func drawPictures(
  _ requests: [TextToImage], with model: DiffusionModel, phase: String, state: String?, progress: ProgressHandler,
  keep: (Int, Image) throws -> Void
) throws {
  // Of several processes there may be none for this one.
  guard !requests.isEmpty else { return }
  try withoutActuallyEscaping(progress) { progress in
    var timer = StepTimer()
    func tell(_ step: Int) throws {
      let report = ProgressReport(
        phase: phase, step: step, total: requests.count * drawingSteps, secondsPerStep: timer.secondsPerStep)
      guard progress(report) else { throw Interrupted(phase: phase, step: step, state: state) }
    }
    for (place, request) in requests.enumerated() {
      let picture = try request.generate(with: model) { state in
        if place + state.step > 0 { timer.tick() }
        // After its last step a picture only has to be decoded.
        if state.step < state.total { try tell(place * drawingSteps + state.step) }
      }
      try keep(place, Image(picture[0]))
    }
    try tell(requests.count * drawingSteps)
  }
}
