import Evaluation
import Experiments
import Foundation
import LoRA
import TestFiles
import Testing
import Torch
import Training
import Workflows

/// What makes an experiment do a job again, and what does not.
@Suite struct ExperimentFreshnessTests {
  let folder: TemporaryFolder
  private let description = """
    base: \(repository)/Models/toybox
    examples: \(repository)/Examples/Toybox
    subjects: [cat]
    styles: [notebook]
    training:
      subject: {rank: 1, steps: 1, learning-rate: 1e-3}
      style: {rank: 1, steps: 1, learning-rate: 1e-3, seed: 5}
    sampling: {steps: 1, guidance: 1, batch: 2}
    pictures: 2
    other-pictures: 1
    reproduction-draws: 1
    oracle: true
    encoders: {clip: \(repository)/Models/toybox/clip}
    rows:
      - {name: direct merge, merge: direct}

    """

  init() throws { folder = try TemporaryFolder() }

  private func run(_ text: String, output: String = "out") throws -> Binary {
    try text.write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    return try Binary.run(["experiment", folder("a.yaml"), "--output", folder(output)])
  }

  private func results() throws -> ExperimentResults {
    try JSONDecoder().decode(ExperimentResults.self, from: bytes(folder("out/results.json")))
  }

  private func changed(_ file: String) throws -> Date {
    try #require(FileManager.default.attributesOfItem(atPath: folder(file))[.modificationDate] as? Date)
  }

  @Test("more pictures are asked of encoders, too, and another way to write the folder costs nothing")
  func morePictures() throws {
    let first = try run(description)
    try #require(first.status == 0, "\(first.errors)")
    let trained = try changed("out/loras/subject-cat.safetensors")
    let more = try run(description.replacing("\npictures: 2\n", with: "\npictures: 4\n"), output: "./out/")
    try #require(more.status == 0, "\(more.errors)")
    #expect(try changed("out/loras/subject-cat.safetensors") == trained)
    let counts = try results().rows[0].figures.filter { $0.exhibit == .styled }.map { "\($0.measure) \($0.score.count)" }
    #expect(counts == ["subject 4", "style 4", "CLIP-I 4", "CLIP-T 4"])
  }

  @Test("a folder that another experiment is at work in is left to it")
  func locked() throws {
    try FileManager.default.createDirectory(atPath: folder("out"), withIntermediateDirectories: false)
    let descriptor = open(folder("out/.lock"), O_CREAT | O_RDWR, 0o644)
    try #require(descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0)
    let refused = try run(description)
    close(descriptor)
    #expect(refused.status == 1 && refused.errors.contains("another experiment is at work in this folder"), "\(refused.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("out")) == [".lock"])
  }

  @Test("a folder of pictures keeps its record")
  func recordOfPictures() throws {
    try Binary.succeed(
      "generate", "--base", base, "--prompt", "a dog", "--steps", "1", "--output", folder("out"))
    let record = try bytes(folder("out/run.json"))
    let refused = try run(description)
    #expect(refused.status == 1 && refused.errors.contains("run.json: is the record of ziplora generate"), "\(refused.errors)")
    #expect(try bytes(folder("out/run.json")) == record)
  }

  @Test("as many pictures of a class as are asked for, with the prompt and seed that are asked for")
  func prior() throws {
    func text(_ subject: String, joint: Int) -> String {
      description.replacing("steps: 1, learning-rate: 1e-3}", with: "steps: 1, learning-rate: 1e-3, \(subject)}")
        .replacing("seed: 5}", with: "seed: 5, prior: 3}")
        + "  - {name: joint, joint: {rank: 1, steps: 1, prior: \(joint)}}\n"
    }
    func inputs(_ lora: String) throws -> Int {
      struct Record: Decodable { let inputs: [FileDigest] }
      let record = try JSONDecoder().decode(Record.self, from: bytes(folder("out/\(lora).safetensors.json")))
      return record.inputs.count { $0.path.contains("prior") && $0.path.hasSuffix(".png") }
    }
    let first = try run(text("prior: 3", joint: 3))
    try #require(first.status == 0, "\(first.errors)")
    #expect(try inputs("loras/subject-cat") == 3)
    #expect(try inputs("pairs/cat-notebook/joint/merged") == 6)
    let subject = try bytes(folder("out/loras/subject-cat.safetensors"))
    let fewer = try run(text("prior: 2", joint: 2))
    try #require(fewer.status == 0, "\(fewer.errors)")
    #expect(try inputs("loras/subject-cat") == 2)
    #expect(try inputs("pairs/cat-notebook/joint/merged") == 4)
    #expect(try bytes(folder("out/loras/subject-cat.safetensors")) != subject)
    // Those of another seed are other pictures, in another folder.
    let reseeded = try run(text("prior: 2, seed: 9", joint: 2))
    try #require(reseeded.status == 0, "\(reseeded.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("out/prior")).count == 3)
    let tooMany = try run(text("prior: 2", joint: 3))
    #expect(
      tooMany.status == 1 && tooMany.errors.contains("row \"joint\": joint.prior: found 3; expected 0 to 2"), "\(tooMany.errors)")
  }

  @Test(
    "what only the base or the LoRAs would refuse is refused before the first job",
    arguments: [
      ("steps: 1, guidance: 1", "steps: 5000, guidance: 1", "sampling: 5000 steps are not possible"),
      (
        "rows:", "rows:\n  - {name: z, zip: {steps: 1, scope: conv}}",
        "row \"z\": zip.scope: found conv; LoRAs have layers such as"
      ),
      (
        "rows:", "rows:\n  - {name: z, of: direct merge, replace: [nonsense], from: direct merge}",
        "row \"z\": replace: found nonsense; LoRAs have layers such as"
      ),
    ])
  func early(found: String, replacement: String, message: String) throws {
    let run = try run(description.replacing(found, with: replacement))
    let errors = run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(run.status == 1 && errors.contains(message), "\(errors)")
    #expect(!FileManager.default.fileExists(atPath: folder("out")))
  }

  @Test("equal ranks are asked for before LoRAs are trained")
  func ranks() throws {
    let run = try run(
      description.replacing("subject: {rank: 1", with: "subject: {rank: 2") + "  - {name: linear, merge: linear}\n")
    let errors = run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(errors.contains("row \"linear\": merge: linear; found LoRAs of rank 2 and 1, expected one rank"), "\(errors)")
  }

  @Test("files that cannot be read are told in words of the system")
  func unreadable() throws {
    let missing = try Binary.run(["experiment", folder("no.yaml"), "--output", folder("out")])
    #expect(
      missing.errors.contains("no.yaml: cannot be read (no such file or folder); expected a YAML file"), "\(missing.errors)")
    let other = try Binary.run(["experiment", folder.path, "--output", folder("out")])
    #expect(other.errors.contains("found a folder; expected a YAML file"), "\(other.errors)")
  }
}
