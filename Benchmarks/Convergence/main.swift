// How near a zip comes to its objective, and how long it takes; see Docs/SPEED.md.
internal import ArgumentParser
internal import Diffusion
internal import Foundation
internal import Images
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
internal import Training

/// A way to zip, the paper's but for `name=value` settings with commas between them: steps, sign (1: by the gradient's sign in
/// place of Adam), rate, cosine (1: the rate falls), draws, closed (passes of the closed form), pull, seed, np (1: begins as near
/// to NP-LoRA's result as coefficients come).
struct Way: ExpressibleByArgument {
  let text: String
  private(set) var options = ZipOptions(method: .paper)
  private(set) var beginsAtNPLoRA = false

  init?(argument: String) {
    text = argument
    for part in argument.split(separator: ",") {
      let pair = part.split(separator: "=")
      guard pair.count == 2, let number = Double(pair[1]) else { return nil }
      let closedForm = options.closedForm ?? ClosedForm()
      switch pair[0] {
      case "steps": options.steps = Int(number)
      case "sign": options.optimizer = number > 0 ? .sign : .adam
      case "rate": options.learningRate = number
      case "cosine": options.schedule = number > 0 ? .cosine : .constant
      case "draws": options.draws = Int(number)
      case "closed": options.closedForm = ClosedForm(passes: Int(number), pull: closedForm.pull)
      case "pull": options.closedForm = ClosedForm(passes: closedForm.passes, pull: number)
      case "seed": options.seed = UInt64(number)
      case "np": beginsAtNPLoRA = number > 0
      default: return nil
      }
    }
  }
}

struct ConvergenceBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ConvergenceBenchmark",
    abstract: "Zip one pair in several ways and print what is left of the difference to each LoRA alone on held-out noise.",
    discussion: """
      A row a way: its settings, subject's and style's error (squared, 1 is the base), with joint prompts the error beside the \
      sum of their changes, the sum of these errors, seconds until the first update, seconds in all. Example of a way: \
      closed=1,draws=8,steps=5,sign=1,rate=0.1,cosine=1
      """)

  @Option(help: "Folder of the base model.")
  var base: String

  @Option(help: "LoRA of the subject.")
  var subject: String

  @Option(help: "LoRA of the style.")
  var style: String

  @Option(help: "Folder with the pictures and prompts that the subject was trained on.")
  var subjectImages: String

  @Option(help: "Folder with the pictures and prompts that the style was trained on.")
  var styleImages: String

  @Option(help: "Prompt of both; can be repeated. The zip is asked for it, too.")
  var jointPrompt: [String] = []

  @Option(help: "Noisy pictures of each LoRA in a batch.")
  var batch = 4

  @Option(help: "Batches of held-out noise.")
  var heldOut = 32

  @Argument(help: "Settings of each way.")
  var ways: [Way]

  func run() throws {
    let model = try DiffusionModel(folder: base)
    func references(_ folder: String) throws -> LatentCache {
      let pictures = try ImageFolder(contentsOf: folder).pictures
      return try LatentCache(pictures.map(\.image), prompts: pictures.map { $0.prompt ?? "" }, model: model)
    }
    let inputs = try [subject, style].map { MergeInput($0, try AdapterFile.read($0, for: model.moduleNames)) }
    let probe = try DiffusionProbe(
      [try references(subjectImages), try references(styleImages)], jointPrompts: jointPrompt, model: model, adaptsText: false,
      batch: batch)
    for way in ways {
      let clock = ContinuousClock()
      let began = clock.now
      let zip = try ZipLoRA(inputs, probe: probe, options: way.options)
      try zip.prepare()
      if way.beginsAtNPLoRA { try beginAtNPLoRA(zip.coefficients, inputs) }
      let prepared = (clock.now - began) / .seconds(1)
      try zip.optimize()
      let seconds = (clock.now - began) / .seconds(1)
      let (merged, loras, seed) = (zip.zipped(), inputs.map(\.weighted), way.options.seed &+ 99)
      var errors = try Reproduction(of: [merged], loras: loras, probe: probe, draws: heldOut, seed: seed).errors
      if probe.hasJointInputs { errors.append(try jointError(merged, loras, probe: probe, draws: heldOut, seed: seed)) }
      let figures = errors + [errors.reduce(0, +)]
      print(
        ([way.text] + figures.map { String(format: "%.4f", $0) } + [prepared, seconds].map { String(format: "%.1f s", $0) })
          .joined(separator: "\t"))
    }
  }
}

/// What is left of what the LoRAs change one by one, added up, under the prompts of both, in the units of `Reproduction`.
private func jointError(_ merged: Adapter, _ loras: [Adapter], probe: DiffusionProbe, draws: Int, seed: UInt64) throws -> Double {
  let merged = try Attachment(merged, to: probe.projections)
  let teachers = try loras.map { try Attachment($0, to: probe.projections) }
  let generator = Generator(seed: seed)
  var (apart, changed) = (0.0, 0.0)
  try withoutGrad {
    for _ in 0..<draws {
      let comparison = try probe.comparisons(1, of: .joint, teachers: teachers, generator: generator)[0]()
      let (base, found) = try (comparison.prediction(), merged.whileAttached(comparison.prediction))
      apart += (found - comparison.teacher).square().sum().item()
      changed += (comparison.teacher - base).square().sum().item()
    }
  }
  return apart / changed
}

/// Coefficients whose columns are nearest to those of NP-LoRA's sum, by least squares.
private func beginAtNPLoRA(_ coefficients: MergerCoefficients, _ inputs: [MergeInput]) throws {
  let target = try NPLoRAMerge().merge(inputs, context: MergeContext()).adapter
  for (path, vectors) in coefficients.vectors where vectors.count == 2 {
    let columns = (inputs.map(\.weighted) + [target]).map { $0.delta(path, dtype: .float64)!.flattened(from: 1) }
    func product(_ first: Int, _ second: Int) -> Tensor { (columns[first] * columns[second]).sum([0]) }
    let (subject, style, both) = (product(0, 0), product(1, 1), product(0, 1))
    let determinant = subject * style - both.square() + 1e-12
    let found = [
      (product(0, 2) * style - product(1, 2) * both) / determinant,
      (product(1, 2) * subject - product(0, 2) * both) / determinant,
    ]
    withoutGrad { for (live, value) in zip(vectors.values, found) { live.copyInPlace(value.to(dtype: live.dtype)) } }
  }
}

ConvergenceBenchmark.main()
