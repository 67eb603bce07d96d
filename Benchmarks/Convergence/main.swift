// How near a zip comes to its objective, and how long it takes; see Docs/SPEED.md.
internal import ArgumentParser
internal import Diffusion
@preconcurrency internal import Foundation
internal import Images
internal import LoRA
internal import Merging
internal import Torch
internal import Training

/// A way to zip: `name=value` settings with commas between them.
struct Way: ExpressibleByArgument {
  let text: String
  var options = ZipOptions(objective: .cosine)

  init?(argument: String) {
    text = argument
    for part in argument.split(separator: ",") {
      let pair = part.split(separator: "=").map(String.init)
      guard pair.count == 2, let number = Double(pair[1]) else { return nil }
      switch pair[0] {
      case "steps": options.steps = Int(number)
      case "rate": options.learningRate = number
      case "cosine": options.schedule = number > 0 ? .cosine : .constant
      case "lambda": options.objective.lambda = number
      case "draws": options.draws = Int(number)
      case "closed": options.closedForm = options.closedForm ?? ClosedForm(); options.closedForm?.passes = Int(number)
      case "pull": options.closedForm = options.closedForm ?? ClosedForm(); options.closedForm?.pull = number
      case "seed": options.seed = UInt64(number)
      default: return nil
      }
    }
  }
}

struct ConvergenceBenchmark: ParsableCommand {
  @Option var base: String
  @Option var subject: String
  @Option var style: String
  @Option var subjectImages: String
  @Option var styleImages: String
  @Option var batch = 4
  @Option var heldOut = 32
  @Argument var ways: [Way]

  func run() throws {
    let model = try DiffusionModel(folder: base)
    func references(_ folder: String) throws -> LatentCache {
      let pictures = try ImageFolder(contentsOf: folder).pictures
      return try LatentCache(pictures.map(\.image), prompts: pictures.map { $0.prompt ?? "" }, model: model)
    }
    let inputs = try [subject, style].map { MergeInput($0, try AdapterFile.read($0, for: model.moduleNames)) }
    let probe = try DiffusionProbe(
      [try references(subjectImages), try references(styleImages)], model: model, adaptsText: false, batch: batch)
    for way in ways {
      let began = ContinuousClock.now
      let zip = try ZipLoRA(inputs, probe: probe, options: way.options)
      try zip.prepare()
      let prepared = (ContinuousClock.now - began) / .seconds(1)
      try zip.optimize()
      let seconds = (ContinuousClock.now - began) / .seconds(1)
      let errors = try Reproduction(
        of: [zip.zipped()], loras: inputs.map(\.weighted), probe: probe, draws: heldOut, seed: 99
      ).errors
      let first = zip.records.first?.fidelity.map { String(format: "%.2f", $0) }.joined(separator: "/") ?? ""
      print(
        String(
          format: "%@\t%.4f\t%.4f\t%.4f\t%.1f s\t%.1f s\t%@", way.text, errors[0], errors[1], errors[0] + errors[1], prepared,
          seconds, first))
    }
  }
}

Engine.keepFreedMemory()
ConvergenceBenchmark.main()
