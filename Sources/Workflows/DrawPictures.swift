internal import Diffusion
internal import Torch
internal import Training

/// The sampler of prior and sample pictures, and how many steps it is given: what Euler's method takes half as many again for.
let drawingSampler = Sampler.dpmSolverMultistep
let drawingSteps = 20

/// Draws pictures, those of one request at once.
///
/// - Parameters:
///   - requests: of `drawingSteps`.
///   - state: where they are kept.
///   - progress: hears of each step of the sampler.
///   - keep: gets the pictures of each request, [pictures, 3, height, width], with its place.
/// - Throws: `Interrupted` when the handler answers false; what drawing and `keep` throw.
func drawPictures(
  _ requests: [TextToImage], with model: DiffusionModel, phase: String, state: String?, progress: ProgressHandler,
  keep: (Int, Tensor) throws -> Void
) throws {
  // Of several processes there may be none for this one.
  guard !requests.isEmpty else { return }
  try withoutActuallyEscaping(progress) { progress in
    var timer = StepTimer()
    // In steps of one picture.
    let total = requests.reduce(0) { $0 + $1.total } * drawingSteps
    var done = 0
    func tell(_ step: Int, of pictures: Int) throws {
      let report = ProgressReport(
        phase: phase, step: step, total: total, secondsPerStep: timer.secondsPerStep.map { $0 / Double(pictures) })
      try report.send(to: progress, state: state)
    }
    for (place, request) in requests.enumerated() {
      let pictures = try request.generate(with: model) { state in
        if done + state.step > 0 { timer.tick() }
        // After its last step a picture only has to be decoded.
        if state.step < state.total { try tell(done + state.step * request.total, of: request.total) }
      }
      try keep(place, pictures)
      done += request.total * drawingSteps
    }
    try tell(total, of: 1)
  }
}
