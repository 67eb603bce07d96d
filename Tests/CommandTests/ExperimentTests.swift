import Evaluation
import Experiments
import Foundation
import Images
import LoRA
import OrderedCollections
import TestFiles
import Testing
import Torch
import Training
import Workflows

/// `ziplora experiment` on the embedded base, as small as can be.
@Suite struct ExperimentTests {
  let folder: TemporaryFolder
  private let description = """
    base: \(repository)/Models/toybox
    examples: \(repository)/Examples/Toybox
    subjects: [cat, dog]
    styles: [notebook]
    training:
      subject: {rank: 1, steps: 1, learning-rate: 1e-3}
      style: {rank: 1, steps: 1, learning-rate: 1e-3, seed: 5}
    pairs: [[cat, notebook]]
    sampling: {steps: 1, guidance: 1, batch: 2}
    pictures: 2
    other-pictures: 1
    contexts: [on grass]
    reproduction-draws: 1
    rows:
      - {name: base alone, loras: []}
      - {name: direct merge, merge: direct}
      - {name: "both, as they are", loras: [subject, style]}
      - {name: mixed, loras: [subject, style], combine: predictions}
      - {name: changes, loras: [subject, style], combine: changes}
      - {name: thin, loras: [subject], sparsity: 0.5}
      - {name: mended, of: zipped, replace: [down_blocks, mid_block, up_blocks], from: direct merge}
      - {name: zipped, zip: {steps: 1, learning-rate: 0.1}}
      - {name: zipped in part, zip: {steps: 1, learning-rate: 0.1, scope: attn2.to_k}}
      - {name: three, merge: direct, with: [dog]}
      - {name: zipped with both, zip: {steps: 1, learning-rate: 0.1, joint-prompt: true, reference-count: 1}}

    """

  init() throws { folder = try TemporaryFolder() }

  private func run(_ text: String) throws -> Binary {
    try text.write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    return try Binary.run(["experiment", folder("a.yaml"), "--output", folder("out")])
  }

  private func results() throws -> ExperimentResults {
    try JSONDecoder().decode(ExperimentResults.self, from: bytes(folder("out/results.json")))
  }

  @Test("a report that is no experiment's is not replaced")
  func reportOfAnother() throws {
    try FileManager.default.createDirectory(atPath: folder("out"), withIntermediateDirectories: true)
    try "mine".write(toFile: folder("out/report.html"), atomically: true, encoding: .utf8)
    let run = try run(description)
    #expect(run.status == 1 && run.errors.contains("report.html: is there and of no experiment"), "\(run.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("out")) == ["report.html"])
  }

  @Test("what is done is not done again, and another row costs only itself")
  func goesOn() throws {
    let first = try run(description)
    try #require(first.status == 0, "\(first.errors)")
    let results = try results()
    #expect(
      results.rows.map(\.name) == [
        "base alone", "direct merge", "both, as they are", "mixed", "changes", "thin", "mended", "zipped", "zipped in part",
        "three", "zipped with both",
      ]
        && results.pairs == ["cat-notebook"])
    #expect(
      results.columns == [
        "subject", "style", "subject in places", "place", "subject, subject's prompt", "style, style's prompt", "subject's error",
        "style's error",
      ])
    #expect(results.rows[0].figures.suffix(2).allSatisfy { abs($0.score.mean - 1) < 1e-6 }, "without LoRAs, all is missing")
    #expect(results.rows.allSatisfy { $0.figures[0].score.count == 2 && $0.figures[0].score.mean > 0 })
    // Direct merge is both LoRAs at once, to the rounding of a picture.
    #expect(results.rows[1].figures.allSatisfy { $0.gain == nil })
    #expect(results.rows[2].figures.allSatisfy { abs($0.gain!.mean) < 1e-3 }, "\(results.rows[2])")
    // All layers of direct merge are direct merge, though the row that they replace stands below.
    #expect(results.rows[6].figures.allSatisfy { abs($0.gain!.mean) < 1e-6 }, "\(results.rows[6])")
    // One pair is one value of how far a prediction is, which proves nothing.
    #expect(results.rows.allSatisfy { $0.figures.suffix(2).allSatisfy { $0.isBetter == nil } })
    // A third LoRA adds what it changes.
    #expect(results.rows[9].figures.suffix(2).allSatisfy { abs($0.gain!.mean) > 1e-6 })
    // Half of what each LoRA changes is missing, and the other's half is there instead.
    #expect(results.rows[3].figures.suffix(2).allSatisfy { $0.score.mean > 0.1 })
    let report = try String(contentsOfFile: folder("out/report.html"), encoding: .utf8)
    #expect(report.contains("both, as they are"))
    #expect(report.components(separatedBy: "<polyline").count == 7, "overlap before and after, of the rows that zip")

    // Eleven rows beside subject and style, of 128 pixels each, and labels.
    let grid = try Image(contentsOf: folder("out/grid.png"))
    #expect(grid.width > 13 * 128 && grid.height > 128 && grid.height < 512)

    let pictures = "out/pairs/cat-notebook/direct-merge/styled"
    let names = try FileManager.default.contentsOfDirectory(atPath: folder(pictures)).sorted()
    #expect(names == ["0001-seed1000.png", "0002-seed1001.png", "run.json"])
    func changed() throws -> Date {
      let file = folder("\(pictures)/0001-seed1000.png")
      return try #require(FileManager.default.attributesOfItem(atPath: file)[.modificationDate] as? Date)
    }
    let before = try changed()
    // A picture that is gone is drawn again, and nothing else.
    try FileManager.default.removeItem(atPath: folder("out/pairs/cat-notebook/base-alone/styled/0002-seed1001.png"))
    let second = try run(description + "  - {name: half, merge: direct, weights: [0.5, 0.5]}\n")
    try #require(second.status == 0, "\(second.errors)")
    #expect(try changed() == before)
    #expect(try self.results().rows.map(\.name).last == "half")
    #expect(try self.results().rows[0] == results.rows[0])
    // Pictures that are no longer asked for go, so that nothing counts them.
    let fewer = try run(
      description.replacing("\npictures: 2\n", with: "\npictures: 1\n").replacing("\ncontexts: [on grass]\n", with: "\n"))
    try #require(fewer.status == 0, "\(fewer.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder(pictures)).sorted() == ["0001-seed1000.png", "run.json"])
    let left = try self.results()
    #expect(left.columns == results.columns.filter { !$0.contains("place") })
    #expect(left.rows.allSatisfy { $0.figures[0].score.count == 1 })
  }

  @Test("new pictures, strays and states of other settings are noticed though no record names them")
  func whatNoRecordNames() throws {
    _ = try folder.copyEncoder("clip")
    let pictures = try folder.pictures("thing", "rgb-8.png")
    let text = """
      base: \(repository)/Models/toybox
      subjects: [{name: thing, images: \(pictures), prompt: a sbu thing, class: a thing}]
      styles: [notebook]
      training:
        subject: {rank: 1, steps: 2, learning-rate: 1e-3, schedule: cosine}
        style: {rank: 1, steps: 1, learning-rate: 1e-3, seed: 5}
      examples: \(repository)/Examples/Toybox
      sampling: {steps: 1, guidance: 1}
      pictures: 1
      other-pictures: 1
      reproduction-draws: 1
      encoders: {clip: \(folder("clip"))}
      rows:
        - {name: direct merge, merge: direct}

      """
    // What an experiment leaves that was stopped when it asked for more steps.
    let lora = folder("out/loras/subject-thing.safetensors")
    try FileManager.default.createDirectory(atPath: folder("out/loras"), withIntermediateDirectories: true)
    let longer = TrainAdapter(
      base: BaseModel("\(repository)/Models/toybox"), pictures: PictureSource(pictures, prompt: "a sbu thing"),
      training: .init(rank: 1, steps: 400, learningRate: LearningRate(peak: 1e-3, shape: .cosine)), output: AdapterOutput(lora))
    #expect(throws: Interrupted.self) { try longer.run { $0.phase != "training the LoRA" || $0.step < 2 } }
    #expect(FileManager.default.fileExists(atPath: folder("out/loras/subject-thing.state.safetensors")))
    let other = try run(text)
    try #require(other.status == 0, "\(other.errors)")
    #expect(try AdapterFile(path: lora).metadata["ss_steps"] == "2")
    let first = try bytes(lora)

    let styled = "out/pairs/thing-notebook/direct-merge/styled"
    try FileManager.default.removeItem(atPath: folder("\(styled)/run.json"))
    try FileManager.default.copyItem(
      atPath: folder("\(styled)/0001-seed1000.png"), toPath: folder("\(styled)/0009-seed3.png"))
    let again = try run(text)
    try #require(again.status == 0, "\(again.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder(styled)).sorted() == ["0001-seed1000.png", "run.json"])
    #expect(try bytes(lora) == first)

    _ = try folder.pictures("thing", "444.jpg")
    let more = try run(text)
    try #require(more.status == 0, "\(more.errors)")
    #expect(try bytes(lora) != first)
    #expect(try AdapterFile(path: lora).metadata["ss_num_train_images"] == "2")
  }

  @Test("pictures of anything are judged by encoders, with the scores that evaluate gives them")
  func encoders() throws {
    _ = try folder.copyEncoder("clip")
    _ = try folder.pictures("thing", "rgb-8.png", "444.jpg")
    let text = description.replacing(
      "subjects: [cat, dog]",
      with: "subjects: [{name: thing, images: \(folder("thing")), prompt: a sbu thing, class: a thing}, dog]"
    ).replacing("[[cat,", with: "[[thing,").replacing(
      "rows:", with: "encoders: {clip: \(folder("clip")), dino: \(goldens)/encoders/vit}\nrows:")
    let run = try run(text)
    try #require(run.status == 0, "\(run.errors)")
    let results = try results()
    #expect(
      results.columns == [
        "CLIP-I", "DINO", "CLIP-T", "DINO in places", "CLIP-T in places", "DINO, subject's prompt", "CLIP-I, style's prompt",
        "CLIP-T, style's prompt",
        "subject's error", "style's error",
      ])
    let json = folder("scores.json")
    try Binary.succeed(
      "evaluate", "--pictures", folder("out/pairs/thing-notebook/direct-merge/styled"), "--subject-images", folder("thing"),
      "--style-images", "\(repository)/Examples/Toybox/styles/notebook", "--clip", folder("clip"), "--dino",
      "\(goldens)/encoders/vit", "--json", json)
    let expected = try JSONDecoder().decode(PictureScores.self, from: bytes(json))
    let row = try #require(results.rows.first { $0.name == "direct merge" })
    for (score, column) in [("CLIP-I", 0), ("DINO", 1), ("CLIP-T", 2)] {
      #expect(row.figures[column].score == expected.scores.first { $0.name == score }?.estimate)
    }
    let report = try String(contentsOfFile: folder("out/report.html"), encoding: .utf8)
    #expect(report.contains("<h3>DINO</h3>") && report.contains("<h3>CLIP-I</h3>") && !report.contains("true renders"))

    // Another picture of the subject is another reference of all rows, those that are not drawn again included.
    _ = try folder.pictures("thing", "palette-8-transparent-interlaced.png")
    let more = try self.run(text)
    try #require(more.status == 0, "\(more.errors)")
    try Binary.succeed(
      "evaluate", "--pictures", folder("out/pairs/thing-notebook/base-alone/styled"), "--subject-images", folder("thing"),
      "--dino", "\(goldens)/encoders/vit", "--json", json, "--overwrite")
    let anew = try JSONDecoder().decode(PictureScores.self, from: bytes(json)).scores.first { $0.name == "DINO" }?.estimate
    #expect(try self.results().rows[0].figures[1].score == anew && anew != results.rows[0].figures[1].score)
  }

  @Test("who judges is looked for before the first job", arguments: ["encoders: {clip: nowhere}", "oracle: true"])
  func missingJudges(setting: String) throws {
    let run = try run(
      description.replacing("rows:", with: "\(setting)\nrows:").replacing("\(repository)/Models/toybox", with: base))
    #expect(run.status == 1 && run.errors.contains(setting.hasPrefix("oracle") ? "has no oracle" : "nowhere"), "\(run.errors)")
    #expect(!FileManager.default.fileExists(atPath: folder("out/loras")))
  }

  @Test(
    "a description that cannot be run",
    arguments: [
      ("pictures: 2", "picture: 2", "picture: no such setting; known are base, width, height, examples"),
      ("subjects: [cat, dog]", "subjects: [cow]", "subjects[1]: there is no example subject \"cow\"; choose one of cat, robot"),
      (
        "steps: 1, learning-rate", "steps: many, learning-rate", "training.subject.steps: found \"many\"; expected a whole number"
      ),
      ("{name: base alone, loras: []}", "{name: base alone}", "row \"base alone\": found none of loras, merge, zip, joint, of"),
      ("merge: direct", "merge: sum", "row \"direct merge\": merge: sum; expected one of direct, svd"),
      (
        "merge: direct", "merge: direct, combine: predictions",
        "row \"direct merge\": combine goes with loras: [subject, style] alone"
      ),
      ("with: [dog]", "with: [cat]", "row \"three\": with: cat, beside cat-notebook; expected one of the other subjects"),
      ("merge: direct, with", "loras: [], with", "row \"three\": with goes with merge and zip alone"),
      ("batch: 2", "batch: 2, dtype: int4", "sampling.dtype: found int4; expected float32, bfloat16 or float16"),
      ("batch: 2", "batch: 2, dtype: int8", "sampling.dtype: found int8; expected float32, bfloat16 or float16"),
      ("batch: 2", "batch: 2, sampler: magic", "sampling.sampler: "),
      ("sparsity: 0.5", "sparsity: .nan", "row \"thin\": sparsity nan; expected 0 up to 1"),
      ("[[cat, notebook]]", "[[cat, notebook], [cat, notebook]]", "pairs: \"cat-notebook\" is there twice"),
      ("name: base alone", "name: \"\"", "rows: a name is empty"),
      ("name: base alone", "name: \"..\"", "row \"..\": its name becomes that of a folder; expected letters or digits in it"),
      ("name: base alone", "name: Direct-Merge", "its folder would be \"direct-merge\", which is that of row"),
      ("contexts: [on grass]", "contexts: [on grass, on grass]", "contexts: \"on grass\" is there twice"),
      (
        "subjects: [cat, dog]", "subjects: [{name: ../a, images: a, prompt: a, class: a}, dog]",
        "the name \"../a\" becomes that of files"
      ),
      ("contexts: [on grass]", "contexts: [on the moon]", "contexts: found \"on the moon\"; expected on grass, "),
      ("\npictures: 2", "\npictures: 9223372036854775807", "pictures: found 9223372036854775807; expected 10000000 or less"),
      (
        "replace: [down_blocks, mid_block, up_blocks], from: direct merge", "replace: [down]",
        "replace and from go together, with of"
      ),
      ("from: direct merge", "from: nothing", "row \"mended\": from names \"nothing\"; expected a row of merge or zip"),
      ("scope: attn2.to_k", "scope: attention+noses", "scope: "),
      ("rows:", "encoders: {}\nrows:", "encoders: found none; expected clip, dino or both"),
      ("rows:", "compared-with: nothing\nrows:", "compared-with: \"nothing\" is none of the rows"),
      ("rows:", "rows: [", "no YAML"),
      ("name: base alone", "name: direct merge", "rows: \"direct merge\" is there twice"),
    ])
  func refused(what: String, by other: String, message: String) throws {
    let text = description.replacing(what, with: other)
    #expect(text != description)
    let run = try run(text)
    #expect(run.status == 1 && run.output == "")
    #expect(run.errors.contains("a.yaml: ") && run.errors.contains(message), "\(run.errors)")
  }

  @Test("the descriptions that come with the project are read", arguments: Self.shipped)
  func readsShipped(file: String) throws {
    let experiment = try Experiment(contentsOf: "\(repository)/Experiments/\(file)")
    #expect(experiment.rows.contains { $0.name == experiment.reference })
    #expect(try !experiment.allPairs.isEmpty)
  }

  static let shipped =
    (try? FileManager.default.contentsOfDirectory(atPath: "\(repository)/Experiments").sorted()) ?? ["Experiments is missing"]
}
