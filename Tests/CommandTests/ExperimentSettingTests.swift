import Diffusion
import Experiments
import Foundation
import TestFiles
import Testing
import Torch
import Workflows

/// Settings of an experiment that would be ignored or make no sense, and names that would break its tables.
@Suite struct ExperimentSettingTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// - Parameter rows: of YAML, each a mapping.
  private func description(
    _ rows: [String], training: String = "{subject: {rank: 1, steps: 1}, style: {rank: 1, steps: 1}}"
  ) -> String {
    """
    base: \(repository)/Models/toybox
    examples: \(repository)/Examples/Toybox
    subjects: [cat]
    styles: [notebook]
    training: \(training)
    sampling: {steps: 1, guidance: 1, batch: 2}
    pictures: 1
    other-pictures: 1
    reproduction-draws: 1
    rows:
      - {name: direct merge, merge: direct}
    \(rows.map { "  - \($0)\n" }.joined())
    """
  }

  private func run(_ text: String) throws -> Binary {
    try text.write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    return try Binary.run(["experiment", folder("a.yaml"), "--output", folder("out")])
  }

  private func refusal(_ text: String) throws -> String {
    let run = try run(text)
    #expect(run.status == 1 && run.output == "", "\(run.errors)")
    #expect(!FileManager.default.fileExists(atPath: folder("out")))
    return run.errors
  }

  @Test(
    "what a row would ignore",
    arguments: [
      ("{name: x, zip: {steps: 1}, options: {density: 0.5}}", "row \"x\": options go with merge alone"),
      (
        "{name: x, joint: {rank: 1}, weights: [1, 0.5]}",
        "row \"x\": weights: found 0.5 for the style, which changes nothing beside joint; expected 1"
      ),
      (
        "{name: x, of: direct merge, replace: [mid_block], from: direct merge, weights: [2, 1]}",
        "row \"x\": weights: found 2.0 for the subject, which changes nothing beside replace; expected 1"
      ),
      (
        "{name: x, loras: [subject], weights: [0.5, 0.5]}",
        "row \"x\": weights: found 0.5 for the style, which changes nothing beside loras without it; expected 1"
      ),
      ("{name: x, loras: [], weights: [0.5, 1]}", "row \"x\": weights: found 0.5 for the subject, which changes nothing"),
      ("{name: x, loras: [style, style]}", "row \"x\": loras: one is there twice"),
      ("{name: x, merge: direct, weights: [.nan, 1]}", "row \"x\": weights: found nan for the subject; expected a finite number"),
      (
        "{name: x, loras: [subject, style], combine: predictions, weights: [0, -1]}",
        "row \"x\": weights: found [0.0, -1.0]; combine"
      ),
      ("{name: x, merge: direct, weights: [0, 0]}", "row \"x\": all LoRAs have weight 0, so that nothing of them"),
    ])
  func ignored(row: String, message: String) throws {
    let found = try refusal(description([row]))
    #expect(found.contains("a.yaml: \(message)"), "\(found)")
  }

  @Test("weights of LoRAs that take part are none of that")
  func weights() throws {
    let rows = ["{name: a, loras: [style], weights: [1, 0.5]}", "{name: b, loras: [style, subject], weights: [2, 3]}"]
    try description(rows).write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    #expect(try Experiment(contentsOf: folder("a.yaml")).rows.map(\.weights) == [[1, 1], [1, 0.5], [2, 3]])
  }

  @Test(
    "settings are named as in the file",
    arguments: [
      ("{name: x, zip: {steps: -1}}", "row \"x\": zip.steps: found -1; expected 0 or more"),
      ("{name: x, zip: {initial-value: 1e300}}", "row \"x\": zip.initial-value: found 1e+300; expected a number from -1000"),
      ("{name: x, zip: {references: drawn, reference-count: 0}}", "row \"x\": zip.reference-count: found 0; expected 1 or more"),
      ("{name: x, joint: {batch: 0}}", "row \"x\": joint.batch: found 0; expected 1 or more"),
      ("{name: x, joint: {prior: -1}}", "row \"x\": joint.prior: found -1; expected 0 to "),
      (
        "{name: x, merge: ties, options: {density: 2}}",
        "row \"x\": options.density: found 2.0; expected a number above 0 and at most 1"
      ),
      (
        "{name: x, merge: ties, options: {epsilon: 2}}",
        "row \"x\": options: the method ties has no option epsilon; it has density, rank"
      ),
    ])
  func names(row: String, message: String) throws {
    let found = try refusal(description([row]))
    #expect(found.contains("a.yaml: \(message)") && !found.contains("--"), "\(found)")
  }

  @Test func namesOfTrainingAndSampling() throws {
    let training = try refusal(description([], training: "{subject: {rank: 0}}"))
    #expect(training.contains("a.yaml: training.subject.rank: found 0; expected 1 or more"), "\(training)")
    let prior = try refusal(description([], training: "{style: {prior: 100000}}"))
    #expect(prior.contains("a.yaml: training.style.prior: found 100000; expected 9999 or less"), "\(prior)")
    let sampling = try refusal(description([]).replacing("guidance: 1", with: "guidance: -1"))
    #expect(sampling.contains("a.yaml: sampling.guidance: found -1.0; expected 0 or more"), "\(sampling)")
    let pictures = try refusal(description([]).replacing("\npictures: 1", with: "\npictures: 0"))
    #expect(pictures.contains("a.yaml: pictures: found 0; expected 1 or more"), "\(pictures)")
  }

  @Test("LoRAs of subjects and styles begin with other numbers, in all that the project ships with the same as ever")
  func seeds() throws {
    try description([]).write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    let experiment = try Experiment(contentsOf: folder("a.yaml"))
    #expect(experiment.subjectTraining.seed == 0 && experiment.styleTraining.seed == 500)
    for file in ExperimentTests.shipped {
      let text = try String(contentsOfFile: "\(repository)/Experiments/\(file)", encoding: .utf8)
      let style = try #require(text.split(separator: "\n").first { $0.hasPrefix("  style: {") })
      #expect(style.contains("seed: "), "\(file)")
    }
  }

  @Test("one pair is not 1 pairs, and a name with a bar is one cell")
  func tables() throws {
    let run = try run(description(["{name: \"a | b\", loras: [subject]}"]))
    try #require(run.status == 0, "\(run.errors)")
    let results = try String(contentsOfFile: folder("out/results.md"), encoding: .utf8)
    #expect(results.hasPrefix("1 pair, means with") && results.contains("| a \\| b | "), "\(results)")
    let report = try String(contentsOfFile: folder("out/report.html"), encoding: .utf8)
    #expect(report.contains("<h1>1 pair, 2 ways</h1>") && report.contains("1 picture of each pair"))
  }

  @Test("a LoRA that changes nothing on its pictures is named, with what to do")
  func withoutEffect() throws {
    let run = try run(
      description([], training: "{subject: {rank: 1, steps: 1}, style: {rank: 1, steps: 1, learning-rate: 1e-30}}"))
    #expect(run.status == 1)
    let message = run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(
      message.contains("style-notebook.safetensors: changes nothing of what the base predicts for")
        && message.contains("or with a larger learning-rate (training.style)"), "\(run.errors)")
  }

  @Test("a base as a mapping has the options of the command line")
  func base() throws {
    let mapping = """
      {source: sd, variant: fp16, vae: v, tokenizer: t, config: c, prediction-type: v_prediction, timestep-spacing: trailing, \
      clip-skip: 2, text-parts: 3, dtype: bfloat16}
      """
    try description([]).replacing("base: \(repository)/Models/toybox", with: "base: \(mapping)")
      .write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    #expect(
      try Experiment(contentsOf: folder("a.yaml")).base
        == BaseModel(
          "sd",
          choices: .init(
            variant: "fp16", vae: "v", tokenizer: "t", configuration: "c", predictionType: .velocity, timestepSpacing: .trailing,
            clipSkip: 2, textParts: 3), dtype: .bfloat16))
  }
}
