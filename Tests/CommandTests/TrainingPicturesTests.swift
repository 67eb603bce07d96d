import Foundation
import Images
import LoRA
import Merging
import OrderedCollections
import TestFiles
import Testing
import Torch
import Training
import Workflows

/// The pictures around a training: those it learns from, those of the class and those that show how it goes on.
@Suite struct TrainingPicturesTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func names(_ name: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder(name)).sorted()
  }

  private func train(_ options: String..., images: String = "\(fixtures)/rgb-8.png", output: String = "a") -> [String] {
    [
      "train", "--base", base, "--images", images, "--rank", "2", "--steps", "2", "--output", folder("\(output).safetensors"),
    ] + options
  }

  private func expectSuccess(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) throws {
    let run = try Binary.run(arguments)
    try #require(run.status == 0, "\(run.errors)", sourceLocation: sourceLocation)
  }

  private func metadata(_ name: String) throws -> (prompts: String?, seed: String?) {
    let metadata = try AdapterFile(path: folder("\(name).safetensors")).metadata
    return (metadata["ziplora.prompts"], metadata["ss_seed"])
  }

  // MARK: sample pictures

  @Test("samples have their place before the training begins")
  func placeOfSamples() throws {
    let command = train("--prompt", "a sbu dog", "--sample-prompt", "a dog", "--sample-every", "1")
    let precious = Data("precious".utf8)
    try precious.write(to: URL(filePath: folder("a-samples")))
    let blocked = try Binary.run(command)
    #expect(blocked.status == 1 && !blocked.errors.contains("training the LoRA"), "\(blocked.errors)")
    #expect(blocked.errors.contains("a-samples: found a file, expected the folder for sample pictures"), "\(blocked.errors)")
    #expect(try bytes(folder("a-samples")) == precious)

    try FileManager.default.removeItem(atPath: folder("a-samples"))
    try FileManager.default.createDirectory(atPath: folder("a-samples"), withIntermediateDirectories: false)
    let sample = folder("a-samples/step00002-1.png")
    try precious.write(to: URL(filePath: sample))
    let refused = try Binary.run(command)
    #expect(refused.status == 1 && !refused.errors.contains("training the LoRA"), "\(refused.errors)")
    #expect(refused.errors.contains("step00002-1.png: exists already") && refused.errors.contains("--overwrite"))
    #expect(try bytes(sample) == precious)
    try expectSuccess(command + ["--overwrite"])
    #expect(try names("a-samples") == ["step00001-1.png", "step00002-1.png"])
    #expect(try Image(contentsOf: sample).width == 48)
  }

  @Test("a training that is stopped while it draws samples draws them when it goes on, to the same file")
  func stoppedSamples() throws {
    func training(_ name: String) throws -> TrainAdapter {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
      return TrainAdapter(
        base: BaseModel(base), pictures: PictureSource("\(fixtures)/rgb-8.png", prompt: "a sbu dog"),
        training: .init(rank: 2, steps: 4, learningRate: LearningRate(peak: 1e-2)),
        samples: SamplePictures(prompts: ["a dog"], every: 2), output: AdapterOutput(folder("\(name)/a.safetensors")))
    }
    let stop = #expect(throws: Interrupted.self) {
      _ = try training("stopped").run { $0.phase != "drawing sample pictures" || $0.step < 3 }
    }
    #expect(stop?.phase == "training the LoRA" && stop?.step == 2)
    #expect(stop?.state == folder("stopped/a.state.safetensors"))
    #expect(try names("stopped/a-samples") == [])
    _ = try training("stopped").run { _ in true }
    _ = try training("whole").run { _ in true }
    #expect(try names("stopped/a-samples") == ["step00002-1.png", "step00004-1.png"])
    for file in ["a.safetensors", "a-samples/step00002-1.png", "a-samples/step00004-1.png"] {
      #expect(try bytes(folder("stopped/\(file)")) == bytes(folder("whole/\(file)")), "\(file)")
    }
  }

  // MARK: pictures of the class

  @Test("a folder without pictures is filled, whatever else is in it")
  func emptyPrior() throws {
    try FileManager.default.createDirectory(atPath: folder("class"), withIntermediateDirectories: false)
    for (name, text) in [(".DS_Store", "x"), ("prompt.txt", "a dog")] {
      try Data(text.utf8).write(to: URL(filePath: folder("class/\(name)")))
    }
    try expectSuccess(
      train("--prompt", "a sbu dog", "--prior-images", folder("class"), "--prior-prompt", "a dog", "--prior-count", "1"))
    #expect(try names("class") == [".DS_Store", "prior-0001.png", "prompt.txt"])
  }

  @Test func aFileIsNoFolderOfTheClass() throws {
    let picture = "\(fixtures)/444.jpg"
    for options in [["--prior-prompt", "a dog"], []] {
      let run = try Binary.run(train("--prompt", "a sbu dog", "--prior-images", picture) + options)
      #expect(run.status == 1 && run.errors.contains("444.jpg: a file; expected a folder of PNG"), "\(run.errors)")
    }
    let own = try Binary.run(train("--prompt", "a sbu dog", "--prior-images", "\(fixtures)/rgb-8.png"))
    #expect(own.status == 64 && own.errors.contains("expected another folder than that of --images"), "\(own.errors)")
  }

  @Test("of a folder with captions the first pictures are taken, as many as are asked for")
  func countOfPrior() throws {
    let others = try folder.pictures("class", "rgb-8.png", "444.jpg")
    try "a dog".write(toFile: "\(others)/prompt.txt", atomically: true, encoding: .utf8)
    let command = train("--prompt", "a sbu dog", "--prior-images", others)
    let run = try Binary.run(command + ["--prior-count", "3"])
    #expect(
      run.status == 1
        && run.errors.contains(
          "--prior-count 3: expected up to 2, the pictures in \(others), or --prior-prompt to draw the others of"),
      "\(run.errors)")
    try expectSuccess(command + ["--prior-count", "1"])
    let record = try JSONDecoder().decode(RunRecord<TrainAdapter>.self, from: bytes(folder("a.safetensors.json")))
    let read = record.inputs.map(\.path).filter { $0.hasPrefix(others) }
    #expect(read == ["\(others)/\(try names("class")[0])", "\(others)/prompt.txt"])

    _ = try folder.pictures("regularisation/1_dog", "rgb-8.png")
    let beside = try Binary.run(
      train("--prompt", "a sbu dog", "--prior-images", folder("regularisation"), output: "b")
        + ["--prior-prompt", "a dog", "--prior-count", "2"])
    #expect(beside.status == 1 && beside.errors.contains("beside which none is drawn"), "\(beside.errors)")
    #expect(try names("regularisation") == ["1_dog"])
    try expectSuccess(train("--prompt", "a sbu dog", "--prior-images", folder("regularisation"), output: "c"))
  }

  // MARK: prompts and seeds

  @Test("a prompt of two lines is one prompt")
  func twoLines() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png")
    try "a sbu\ndog\n".write(toFile: "\(pictures)/prompt.txt", atomically: true, encoding: .utf8)
    try expectSuccess(train(images: pictures))
    try expectSuccess(train("--prompt", "a sbu\r\ndog", images: pictures, output: "b"))
    for name in ["a", "b"] { #expect(try metadata(name).prompts == "a sbu dog") }
  }

  @Test("the seed follows from the pictures and prompts, wherever they lie")
  func seeds() throws {
    let pictures = try folder.pictures("dog/images", "rgb-8.png")
    let others = try folder.pictures("ink/images", "444.jpg")
    let prompt = ["--prompt", "a sbu dog"]
    for name in ["one", "two"] {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
    }
    try expectSuccess(train(images: pictures, output: "one/a") + prompt)
    try FileManager.default.moveItem(atPath: pictures, toPath: folder("renamed"))
    try expectSuccess(train(images: folder("renamed"), output: "two/a") + prompt)
    #expect(try bytes(folder("one/a.safetensors")) == bytes(folder("two/a.safetensors")))
    try expectSuccess(train(images: others, output: "b") + prompt)
    try expectSuccess(train("--prompt", "a szn house", images: others, output: "c"))
    try expectSuccess(train("--seed", "7", images: others, output: "d") + prompt)
    let seeds = try ["one/a", "b", "c", "d"].map { try #require(try metadata($0).seed) }
    #expect(Set(seeds).count == 4 && seeds[3] == "7" && !seeds.contains("0"), "\(seeds)")
    let record = try JSONDecoder().decode(RunRecord<TrainAdapter>.self, from: bytes(folder("b.safetensors.json")))
    #expect("\(record.settings.training.seed)" == seeds[1] && !record.settings.seedFollowsPictures)
  }

  @Test("a training goes on where its pictures have been moved")
  func movedPictures() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png")
    func training(_ path: String) -> TrainAdapter {
      TrainAdapter(
        base: BaseModel(base), pictures: PictureSource(path, prompt: "a sbu dog"), training: .init(rank: 2, steps: 3),
        seedFollowsPictures: true, output: AdapterOutput(folder("a.safetensors")))
    }
    #expect(throws: Interrupted.self) { _ = try training(pictures).run { $0.phase != "training the LoRA" } }
    try FileManager.default.moveItem(atPath: pictures, toPath: folder("moved"))
    // Other pictures have another seed, which nobody has given: the refusal is about them.
    let refusal = #expect(throws: StateError.self) { _ = try training("\(fixtures)/444.jpg").run { _ in true } }
    #expect(refusal?.reason.hasPrefix("it was made with other pictures, prompts or sizes") == true)
    var steps: [Int] = []
    _ = try training(folder("moved")).run { report in
      if report.phase == "training the LoRA" { steps.append(report.step) }
      return true
    }
    #expect(steps == [2, 3])
  }

  @Test func settingsOfEarlierRecordsAreRead() throws {
    let training = TrainAdapter(
      base: BaseModel(base), pictures: PictureSource("dog"), training: .init(seed: 3), output: AdapterOutput("a.safetensors"))
    let text = try #require(String(data: JSONEncoder().encode(training), encoding: .utf8))
    #expect(text.contains("seedFollowsPictures"))
    let earlier = text.replacing("\"seedFollowsPictures\":false,", with: "").replacing(",\"seedFollowsPictures\":false", with: "")
    #expect(!earlier.contains("seedFollowsPictures"))
    let read = try JSONDecoder().decode(TrainAdapter.self, from: Data(earlier.utf8))
    #expect(!read.seedFollowsPictures && read.training.seed == 3)
    #expect(TrainAdapter(base: BaseModel(base), pictures: PictureSource("dog"), output: read.output).seedFollowsPictures)
  }

  // MARK: progress

  @Test("all that takes long says how far it is, and stops when asked")
  func progress() throws {
    let phases = [
      "drawing prior pictures", "encoding pictures", "encoding pictures of the class", "planning memory",
      "drawing sample pictures",
    ]
    func training(_ name: String) -> TrainAdapter {
      TrainAdapter(
        base: BaseModel(base), pictures: PictureSource("\(fixtures)/rgb-8.png", prompt: "a sbu dog"),
        training: .init(rank: 2, steps: 2), prior: PriorPictures(prompt: "a dog", count: 2),
        samples: SamplePictures(prompts: ["a dog"], every: 1), output: AdapterOutput(folder("\(name).safetensors")))
    }
    var timed: Set<String> = []
    _ = try training("whole").run { report in
      if report.secondsPerStep != nil { timed.insert(report.phase) }
      return true
    }
    // One picture alone has no time by which the next could be foreseen.
    #expect(timed.isSuperset(of: Set(phases).subtracting(["encoding pictures"])), "\(timed)")
    for phase in phases {
      var later = 0
      let stop = #expect(throws: Interrupted.self) {
        _ = try training("stopped").run { report in
          if report.phase == phase { later += 1 }
          return report.phase != phase
        }
      }
      #expect(later == 1, "\(phase) goes on after it was asked to stop")
      #expect(stop?.phase == (phase == "drawing sample pictures" ? "training the LoRA" : phase))
    }
  }
}
