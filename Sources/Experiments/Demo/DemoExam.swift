internal import Diffusion
internal import LoRA
internal import OrderedCollections
internal import Torch
internal import Toybox
internal import Training
internal import Workflows

/// What each model of the demo is asked to draw, and how it is judged.
///
/// Fidelity is the oracle's mean probability of the true answers for the pictures, divided by the same for true renders
/// of the same subject, style and context: 1 is as good as the truth.
struct DemoExam {
  let demo: Demo
  let subject: Example
  let style: Example
  let model: DiffusionModel
  let oracle: Oracle

  /// One model's pictures and marks.
  struct Sheet {
    /// "a sbu X in szn style", [N, 3, H, W].
    let styled: Tensor
    /// "a sbu X at the beach" and so on.
    let placed: Tensor
    let scores: DemoScores
  }

  static let contexts: [Context] = [.grass, .night, .beach, .snow]

  var styledPrompt: String { "\(subject.prompt) in szn style" }
  var placedPrompts: [String] { Self.contexts.map { "\(subject.prompt) \($0.rawValue)" } }

  /// What the pictures should show, in other poses.
  private var truth: ExampleTruth { ExampleTruth(subject: subject, style: style, seed: demo.seed &+ 11) }
  var styledTruth: [Scene] { truth.scenes(.styled, places: [], count: demo.pictures) }
  var placedTruth: [Scene] {
    truth.scenes(.placed, places: Self.contexts, count: Self.contexts.count * placedCount)
  }

  private var placedCount: Int { max(demo.pictures / 8, 1) }

  func draw(
    _ adapters: OrderedDictionary<String, Adapter>, progress: @escaping ProgressHandler
  ) throws -> OrderedDictionary<String, Sheet> {
    var sheets: OrderedDictionary<String, Sheet> = [:]
    let total = adapters.count * 2 * demo.steps
    var timer = StepTimer()
    for (place, (name, adapter)) in adapters.enumerated() {
      let attachment = try Attachment(adapter, to: model.projections)
      sheets[name] = try attachment.whileAttached {
        func pictures(_ prompts: [String], _ count: Int, _ part: Int) throws -> Tensor {
          let request = TextToImage(
            prompts: prompts, sampler: .euler, steps: demo.steps, guidance: demo.guidance, seed: demo.seed &+ 1000,
            count: count)
          return try request.generate(with: model) { state in
            let step = (place * 2 + part) * demo.steps + state.step
            if state.step > 0 { timer.tick() }
            let report = ProgressReport(
              phase: "drawing and judging", step: step, total: total, secondsPerStep: timer.secondsPerStep)
            try report.send(to: progress)
          }
        }
        let styled = try pictures([styledPrompt], demo.pictures, 0)
        let placed = try pictures(placedPrompts, placedCount, 1)
        return Sheet(styled: styled, placed: placed, scores: scores(styled, placed))
      }
    }
    return sheets
  }

  private func scores(_ styled: Tensor, _ placed: Tensor) -> DemoScores {
    DemoScores(
      subject: oracle.fidelity(styled, truth: styledTruth, in: Attribute.ofSubject),
      style: oracle.fidelity(styled, truth: styledTruth, in: Attribute.ofStyle),
      context: oracle.fidelity(placed, truth: placedTruth, in: [.context]))
  }
}
