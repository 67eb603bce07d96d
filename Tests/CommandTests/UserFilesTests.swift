import Foundation
import Merging
import TestFiles
import Testing
import Training
import Workflows

/// What belongs to the user stays as it is, and what a run reads is what its record says.
@Suite struct UserFilesTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func names(_ path: String) throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }

  private var precious: Data { Data("precious".utf8) }

  /// - Returns: the message of a wrong usage.
  private func refusal(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
    let run = try Binary.run(arguments)
    #expect(run.status == 64 && run.output == "", "\(run.errors)", sourceLocation: sourceLocation)
    // Long messages are broken at spaces.
    return run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  // MARK: references

  private func zipWithoutPictures() throws -> [String] {
    let loras = try TrainedLoRAs.shared.get()
    return [
      "zip", "--base", base, "--subject", loras.subject, "--style", loras.style, "--steps", "1", "--learning-rate", "0.02",
      "--references", "1", "--reference-steps", "2", "--output", folder("zip.safetensors"),
    ]
  }

  @Test("of a folder called as that of references, only references go")
  func photosBesideReferences() throws {
    let photos = try folder.pictures("zip.references", "rgb-8.png")
    let run = try Binary.run(zipWithoutPictures())
    try #require(run.status == 0, "\(run.errors)")
    #expect(run.errors.contains("drawing references"), "\(run.errors)")
    #expect(try names(photos) == ["0-rgb-8.png"])
  }

  @Test("references of a run that was stopped are used and go, and their folder with them")
  func referencesOfAStoppedRun() throws {
    let loras = try TrainedLoRAs.shared.get()
    var options = ZipOptions(method: .paper)
    options.steps = 1
    let zip = ZipAdapters(
      base: BaseModel(base), subject: .init(lora: WeightedFile(loras.subject)), style: .init(lora: WeightedFile(loras.style)),
      options: options, references: SavedReferences(sampling: .init(count: 1, steps: 2)),
      output: AdapterOutput(folder("zip.safetensors")))
    #expect(throws: Interrupted.self) { _ = try zip.run { $0.phase != "planning memory" } }
    #expect(try folder.names == ["zip.references"])
    #expect(try names(folder("zip.references")).count == 2)
    var phases: Set<String> = []
    _ = try zip.run { report in
      phases.insert(report.phase)
      return true
    }
    #expect(phases.contains("zipping") && !phases.contains { $0.hasPrefix("drawing references") }, "\(phases)")
    #expect(try !folder.names.contains("zip.references"))
  }

  // MARK: places

  private func train(_ options: String...) -> [String] {
    ["train", "--base", base, "--images", folder("dg"), "--prompt", "a sbu dog"] + options
  }

  private func zip(_ options: String...) -> [String] {
    [
      "zip", "--base", base, "--subject", folder("dog.safetensors"), "--style", folder("ink.safetensors"), "--subject-images",
      folder("dg"), "--subject-prompt", "a sbu dog",
    ] + options
  }

  @Test("nothing is written among pictures that are read, where it would be in the way of the next run")
  func resultsAmongPictures() throws {
    let pictures = try folder.pictures("dg", "rgb-8.png")
    try FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: pictures)
    let away = folder("a.safetensors")
    let json = "\(pictures)/scores.json"
    for (command, option, path) in [
      (train("--output", "\(pictures)/dog.safetensors"), "output", "\(pictures)/dog.safetensors"),
      (train("--output", "\(pictures)/../dg/dog.safetensors"), "output", "\(pictures)/../dg/dog.safetensors"),
      (train("--output", folder("link/dog.safetensors")), "output", folder("link/dog.safetensors")),
      (train("--output", "\(pictures)/10_dog/dog.safetensors"), "output", "\(pictures)/10_dog/dog.safetensors"),
      (train("--output", away, "--state", "\(pictures)/state"), "state", "\(pictures)/state"),
      (zip("--output", "\(pictures)/dog.safetensors"), "output", "\(pictures)/dog.safetensors"),
      (zip("--output", away, "--state", "\(pictures)/state"), "state", "\(pictures)/state"),
    ] {
      let name = command[0] == "train" ? "images" : "subject-images"
      #expect(
        try refusal(command).contains(
          "--\(option) \(path): expected a place outside of \(pictures), where --\(name) takes every file for a picture"))
    }
    #expect(
      try refusal(train("--prior-images", folder("class"), "--output", folder("class/dog.safetensors")))
        .contains("expected a place outside of \(folder("class")), where --prior-images"))
    #expect(
      try refusal(zip("--output", away, "--reference-folder", folder("link")))
        .contains("--reference-folder \(folder("link")): expected a place outside of \(pictures)"))
    let evaluate = ["evaluate", "--prompt", "a dog", "--clip", "clip"]
    #expect(
      try refusal(evaluate + ["--pictures", pictures, "--json", json])
        .contains("--json \(json): expected a place outside of \(pictures), where --pictures"))
    #expect(
      try refusal(evaluate + ["--pictures", folder("out"), "--style-images", pictures, "--json", json])
        .contains("where --style-images takes"))
    #expect(try names(pictures) == ["0-rgb-8.png"])
  }

  @Test("a result does not take the place of what it is made of, however that is spelt")
  func resultsInPlaceOfInputs() throws {
    let dog = folder("dog.safetensors")
    try precious.write(to: URL(filePath: dog))
    try FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: folder.path)
    for path in [folder("./dog.safetensors"), folder("link/dog.safetensors"), folder("none/../dog.safetensors")] {
      #expect(
        try refusal(zip("--output", path, "--overwrite"))
          .contains("--output \(path): expected another name than those of the LoRAs that are zipped"))
      #expect(
        try refusal(["merge", "--method", "direct", "--lora", dog, "--lora", "b", "--output", path, "--overwrite"])
          .contains("--output \(path): expected another name than those of the LoRAs that are merged"))
    }
    #expect(
      try refusal([
        "train", "--base", dog, "--images", folder("dg"), "--prompt", "a", "--output", folder("./dog.safetensors"), "--overwrite",
      ]).contains("expected another file than those that the training reads"))
    #expect(try bytes(dog) == precious)
  }

  @Test("a state is a file of its own")
  func states() throws {
    let output = folder("a.safetensors")
    for path in [output, "\(output).json", folder("./a.safetensors")] {
      #expect(
        try refusal(train("--output", output, "--state", path))
          .contains("--state \(path): expected another file than those that the training writes"))
    }
    let others = [
      output, "\(output).json", folder("a.coefficients.safetensors"), folder("a.report.json"), folder("dog.safetensors"),
      folder("ink.safetensors"),
    ]
    for path in others {
      #expect(
        try refusal(zip("--output", output, "--state", path))
          .contains("--state \(path): expected another file than those that are read, and than the results"))
    }
    // That which it has when nothing is said, too.
    #expect(
      try refusal([
        "zip", "--base", base, "--subject", folder("a.state.safetensors"), "--style", "ink.safetensors", "--output", output,
      ]).contains("--state \(folder("a.state.safetensors")): expected another file"))
  }

  // MARK: records

  @Test("pictures that are moved while they are trained on are in the record, as they were read")
  func movedPictures() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png")
    let digest = try FileDigest(of: "\(pictures)/0-rgb-8.png")
    let training = TrainAdapter(
      base: BaseModel(base), pictures: PictureSource(pictures, prompt: "a sbu dog"), training: .init(rank: 2, steps: 2),
      output: AdapterOutput(folder("a.safetensors")))
    _ = try training.run { report in
      if report.phase == "training the LoRA", report.step == 1 {
        try? FileManager.default.moveItem(atPath: pictures, toPath: folder("moved"))
      }
      return true
    }
    let record = try JSONDecoder().decode(RunRecord<TrainAdapter>.self, from: bytes(folder("a.safetensors.json")))
    #expect(record.inputs.contains(digest) && record.isPartial == nil)
    #expect(try names(folder("moved")) == ["0-rgb-8.png"])
  }

  @Test func aFileThatIsNotThereHasNoDigest() throws {
    let missing = #expect(throws: FileDigestError.self) { _ = try FileDigest(of: folder("none")) }
    #expect(
      missing?.description
        == "\(folder("none")): no such file; expected a file that can be read, and that stays in place until the run is done")
    let other = #expect(throws: FileDigestError.self) { _ = try FileDigest(of: folder.path) }
    #expect(other?.path == folder.path && other?.description.contains(": a folder; expected a file") == true)
  }
}
