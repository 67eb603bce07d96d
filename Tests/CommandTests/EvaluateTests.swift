import Evaluation
import Foundation
import Images
import TestFiles
import Testing
import Workflows

/// `ziplora evaluate` with small random models.
@Suite struct EvaluateTests {
  /// What transformers finds for the same pictures and models (Scripts/goldens/encoders.py).
  private struct Reference: Decodable {
    let prompt: String
    let plainPrompt: String
    let pictures: [String]
    let subject: [String]
    let style: [String]
    let scores: [String: [Double]]
  }

  private let folder: TemporaryFolder
  private let reference: Reference
  private var pictures: String { folder("pictures") }
  private var subject: String { folder("subject") }
  private var style: String { folder("style") }
  private var clip: String { folder("clip") }

  init() throws {
    folder = try TemporaryFolder()
    reference = try JSONDecoder().decode(Reference.self, from: bytes("\(goldens)/encoders/scores.json"))
    _ = try folder.pictures("pictures", reference.pictures)
    _ = try folder.pictures("subject", reference.subject)
    _ = try folder.pictures("style", reference.style)
    _ = try folder.copyEncoder("clip")
  }

  private func encoder(_ name: String) -> String { "\(goldens)/encoders/\(name)" }

  @Test("scores of every picture as transformers finds them from the same files", arguments: ["vit", "dinov2"])
  func equalsTransformers(name: String) throws {
    let json = folder("scores.json")
    let output = try Binary.succeed(
      "evaluate", "--pictures", pictures, "--prompt", reference.prompt, "--subject-images", subject, "--style-images", style,
      "--clip", clip, "--dino", encoder(name), "--json", json)
    let found = try JSONDecoder().decode(PictureScores.self, from: bytes(json))
    let measures: [(PictureScores.Measure, String, KeyPath<PictureScores.Picture, Double?>)] = [
      (.style, "style", \.style), (.text, "text", \.text), (.plainText, "plainText", \.plainText),
      (.subject, "subject.\(name)", \.subject),
    ]
    #expect(found.scores.map(\.measure) == measures.map(\.0))
    let names = ["CLIP-I", "CLIP-T", "CLIP-T", name == "vit" ? "DINO" : "DINOv2"]
    #expect(found.scores.map(\.name) == names)
    for (score, (_, key, picture)) in zip(found.scores, measures) {
      let expected = try #require(reference.scores[key])
      let values = try found.pictures.map { try #require($0[keyPath: picture]) }
      for (value, number) in zip(values, expected) { #expect(abs(value - number) < 1e-5, "\(key): \(values), \(expected)") }
      #expect(score.estimate == Estimate(of: values))
      #expect(output.contains("\(score.estimate)"), "\(output)")
    }
    #expect(found.pictures.map(\.file) == reference.pictures.enumerated().map { "\(pictures)/\($0)-\($1)" })
    #expect(found.pictures.allSatisfy { $0.prompt == reference.prompt && $0.plainPrompt == reference.plainPrompt })
    #expect((found.styleImages.count, found.subjectImages.count) == (2, 2))

    // What the scores depend on.
    let weights = try FileDigest(of: "\(clip)/model.safetensors")
    #expect(found.clip?.files.contains(weights) == true && found.clip?.architecture == "CLIPModel")
    #expect(found.dino?.source == encoder(name))
    for text in [
      "CLIP-T prompt without rare tokens", "mean [95 % interval]", weights.sha256,
      "CLIPImageProcessor: shortest edge to 24, bicubic (Pillow), centre 24 x 24",
      name == "vit" ? "ViTImageProcessor: to 24 x 24, bilinear (Pillow)" : "BitImageProcessor: shortest edge to 24, bicubic",
    ] {
      #expect(output.contains(text), "\(output)")
    }
    let record = try JSONDecoder().decode(RunRecord<EvaluatePictures>.self, from: bytes("\(json).json"))
    #expect(record.workflow == "evaluate" && record.settings.rareTokens == RareTokens(["sbu", "szn"]))
    #expect(record.inputs.contains(weights))
    #expect(record.outputs == [try FileDigest(of: json)])
    #expect(record.inputs.count == 7 + 10)
  }

  @Test("only what is asked for, and rare tokens of the user's own")
  func parts() throws {
    let text = try Binary.succeed("evaluate", "--pictures", pictures, "--prompt", "a dog", "--clip", clip)
    #expect(text.contains("CLIP-T prompt  ") && !text.contains("rare") && !text.contains("style") && !text.contains("DINO"))
    let own = try Binary.succeed(
      "evaluate", "--pictures", pictures, "--prompt", "a zwx dog", "--clip", clip, "--rare-token", "zwx")
    #expect(own.contains("without rare tokens"))
    let subject = try Binary.succeed(
      "evaluate", "--pictures", "\(fixtures)/rgb-8.png", "--subject-images", "\(fixtures)/rgb-8.png", "--dino", encoder("vit"))
    #expect(subject.contains("DINO subject     1.000 [one value]  "), "\(subject)")
    #expect(!subject.contains("CLIP"))
  }

  @Test("pictures that ziplora made bring their prompts and the record of their run")
  func generatedPictures() throws {
    let made = folder("made")
    try Binary.succeed(
      "generate", "--base", base, "--prompt", "a cat", "--prompt", "a sbu dog", "--steps", "1", "--output", made)
    let json = folder("scores.json")
    try Binary.succeed("evaluate", "--pictures", made, "--clip", clip, "--json", json)
    let found = try JSONDecoder().decode(PictureScores.self, from: bytes(json))
    #expect(found.pictures.map(\.prompt) == ["a cat", "a sbu dog"])
    #expect(found.pictures.map(\.plainPrompt) == [nil, "a dog"])
    #expect(found.pictures[0].plainText == found.pictures[0].text, "without rare tokens the prompt is the same")
    let again = try Binary.run(["evaluate", "--pictures", made, "--clip", clip, "--json", json])
    #expect(again.status == 1 && again.errors.contains("scores.json: exists already"), "\(again.errors)")
  }

  @Test("a run that replaces another leaves none of its pictures, but what has changed since")
  func replacedPictures() throws {
    let made = folder("made")
    func generate(_ count: String, to output: String) throws {
      try Binary.succeed(
        "generate", "--base", base, "--prompt", "a cat", "--steps", "1", "--count", count, "--seed", "5", "--output", output,
        "--overwrite")
    }
    try generate("4", to: made)
    try bytes(folder("made/0001-seed5.png")).write(to: URL(filePath: folder("made/0003-seed7.png")))
    // The same folder, written in another way.
    try generate("2", to: folder("made/../made"))
    let left = try FileManager.default.contentsOfDirectory(atPath: made).sorted()
    #expect(left == ["0001-seed5.png", "0002-seed6.png", "0003-seed7.png", "run.json"])
  }

  @Test("a prompt that is too long is warned of")
  func longPrompt() throws {
    let prompt = Array(repeating: "cat", count: 80).joined(separator: " ")
    let run = try Binary.run(["evaluate", "--pictures", pictures, "--prompt", prompt, "--clip", clip])
    #expect(run.status == 0)
    #expect(run.errors.contains("warning: the prompt is too long for CLIP, which does not read its end: \"cat cat"))
  }

  @Test func mistakes() throws {
    func message(_ arguments: String...) throws -> String {
      let run = try Binary.run(["evaluate"] + arguments)
      #expect(run.status == 1 && run.output == "", "\(run.errors)")
      #expect(run.errors.hasPrefix("Error: "), "\(run.errors)")
      return run.errors
    }
    #expect(
      try message("--pictures", pictures, "--clip", clip)
        .contains("0-rgb-8.png has no prompt, which CLIP-T compares it with; give one with --prompt"))
    #expect(
      try message("--pictures", pictures, "--prompt", "a", "--clip", encoder("vit"))
        .contains("--clip \(encoder("vit")): expected a CLIPModel, found a ViTModel"))
    #expect(
      try message("--pictures", pictures, "--subject-images", subject, "--dino", clip)
        .contains("--dino \(clip): expected a ViTModel or a Dinov2Model, found a CLIPModel"))
    #expect(
      try message("--pictures", pictures, "--prompt", "a", "--clip", folder("nothing"))
        .contains(
          "nothing: expected a folder in the layout of transformers, or an id of the Hugging Face hub, such as openai/clip-"))
    #expect(
      try message("--pictures", folder("none"), "--prompt", "a", "--clip", clip).contains("none: no such file or folder"))
    #expect(
      try message("--pictures", pictures, "--subject-images", base, "--dino", encoder("vit")).contains("a text file, but a PNG"))
    // Scaled as CLIP's preprocessing does, the picture would take gigabytes.
    try Image(width: 1 << 20, height: 1, color: .black).write(to: folder("line.png"))
    #expect(
      try message("--pictures", folder("line.png"), "--prompt", "a", "--clip", clip)
        .contains("line.png: 1048576 x 1 pixels are too many once its shorter side is scaled"))
    try FileManager.default.removeItem(atPath: "\(clip)/preprocessor_config.json")
    #expect(
      try message("--pictures", pictures, "--prompt", "a", "--clip", clip).contains("preprocessor_config.json: cannot be read"))
  }
}
