import Diffusion
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

/// LoRAs on the way of a training, and trainings that go on from a LoRA.
@Suite struct CheckpointsOfTrainingTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func training(
    _ name: String, steps: Int, every: Int? = nil, start: String? = nil, dialect: String? = nil
  ) throws -> TrainAdapter {
    let output = folder(name)
    try FileManager.default.createDirectory(
      atPath: (output as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    return TrainAdapter(
      base: BaseModel(base), pictures: PictureSource("\(fixtures)/rgb-8.png", prompt: "a sbu dog"),
      training: .init(rank: 2, steps: steps, learningRate: LearningRate(peak: 1e-2)), start: start, checkpointEvery: every,
      output: AdapterOutput(output, dialect: dialect))
  }

  private func adapter(_ name: String) throws -> Adapter {
    try AdapterFile(path: folder(name)).adapter(for: Checkpoint(path: base).moduleNames)
  }

  private func numbers(_ name: String) throws -> [[Float]] { try adapter(name).parameters.map { $0.floats() } }

  private func names(_ name: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder(name)).sorted()
  }

  @Test("a LoRA on the way is the one that a shorter training gives")
  func checkpoints() throws {
    _ = try training("long/dog.safetensors", steps: 5, every: 2).run { _ in true }
    #expect(
      try names("long") == [
        "dog-step00002.safetensors", "dog-step00004.safetensors", "dog.safetensors", "dog.safetensors.json",
      ])
    for steps in [2, 4] {
      _ = try training("short/\(steps).safetensors", steps: steps).run { _ in true }
      let checkpoint = "long/dog-step0000\(steps).safetensors"
      #expect(try numbers(checkpoint) == numbers("short/\(steps).safetensors"))
      let metadata = try adapter(checkpoint).metadata
      #expect(metadata["ss_steps"] == "\(steps)" && metadata["ss_output_name"] == "dog-step0000\(steps)")
      #expect(metadata["ziplora.prompts"] == "a sbu dog")
    }
    #expect(try numbers("long/dog-step00004.safetensors") != numbers("long/dog.safetensors"))
  }

  @Test("a training that is stopped has written what was due, and goes on to the same files")
  func resume() throws {
    #expect(throws: Interrupted.self) {
      _ = try training("stopped/dog.safetensors", steps: 4, every: 2).run { $0.phase != "training the LoRA" || $0.step < 2 }
    }
    #expect(try names("stopped") == ["dog-step00002.safetensors", "dog.state.safetensors"])
    // One who stopped between the two has a state of the step and no LoRA of it.
    try FileManager.default.removeItem(atPath: folder("stopped/dog-step00002.safetensors"))
    _ = try training("stopped/dog.safetensors", steps: 4, every: 2).run { _ in true }
    _ = try training("whole/dog.safetensors", steps: 4, every: 2).run { _ in true }
    for name in ["dog-step00002.safetensors", "dog.safetensors"] {
      #expect(try bytes(folder("stopped/\(name)")) == bytes(folder("whole/\(name)")), "\(name)")
    }
  }

  @Test("a LoRA that is there is told before the work, and one of PEFT has a folder of its own")
  func places() throws {
    try FileManager.default.createDirectory(atPath: folder("a"), withIntermediateDirectories: false)
    try Data("precious".utf8).write(to: URL(filePath: folder("a/dog-step00002.safetensors")))
    var phases: [String] = []
    let error = #expect(throws: (any Error).self) {
      _ = try training("a/dog.safetensors", steps: 3, every: 2).run { report in
        phases.append(report.phase)
        return true
      }
    }
    #expect("\(error.map { "\($0)" } ?? "none")".contains("a/dog-step00002.safetensors: exists already"))
    #expect(phases.isEmpty)
    #expect(try bytes(folder("a/dog-step00002.safetensors")) == Data("precious".utf8))

    _ = try training("peft/adapter_model.safetensors", steps: 3, every: 2, dialect: "peft").run { _ in true }
    #expect(
      try names("peft") == [
        "adapter_config.json", "adapter_model-step00002", "adapter_model.safetensors", "adapter_model.safetensors.json",
      ])
    #expect(try names("peft/adapter_model-step00002") == ["adapter_config.json", "adapter_model.safetensors"])
    #expect(try AdapterFile(path: folder("peft/adapter_model-step00002")).layers.count == adapter("peft").factors.count)
  }

  @Test("a training goes on from a LoRA, and its state belongs to that one")
  func start() throws {
    _ = try training("a/first.safetensors", steps: 3).run { _ in true }
    _ = try training("a/other.safetensors", steps: 2).run { _ in true }
    let first = folder("a/first.safetensors")
    let before = try bytes(first)
    func second(_ name: String, from start: String = first) throws -> TrainAdapter {
      var training = try training(name, steps: 3, start: start)
      // Ranks of a new LoRA, which this one is not.
      training.training.rank = 7
      return training
    }
    #expect(throws: Interrupted.self) {
      _ = try second("a/second.safetensors").run { $0.phase != "training the LoRA" || $0.step < 2 }
    }
    #expect(throws: StateError.self) {
      _ = try second("a/second.safetensors", from: folder("a/other.safetensors")).run { _ in true }
    }
    _ = try second("a/second.safetensors").run { _ in true }
    _ = try second("b/second.safetensors").run { _ in true }
    #expect(try bytes(folder("a/second.safetensors")) == bytes(folder("b/second.safetensors")))
    let (old, new) = (try adapter("a/first.safetensors"), try adapter("a/second.safetensors"))
    #expect(new.factors.keys == old.factors.keys && new.factors.values.allSatisfy { $0.rank == 2 })
    #expect(try zip(numbers("a/first.safetensors"), numbers("a/second.safetensors")).allSatisfy { $0 != $1 })
    #expect(new.metadata["ziplora.start"] == "first.safetensors" && new.metadata["ss_network_dim"] == "2")
    #expect(try bytes(first) == before)
    let record = try JSONDecoder().decode(RunRecord<TrainAdapter>.self, from: bytes(folder("a/second.safetensors.json")))
    #expect(record.settings.start == first && record.inputs.contains { $0.path == first })
  }

  @Test("a state belongs to all that the pictures are shown with")
  func identities() throws {
    let pictures = try TemporaryFolder()
    _ = try pictures.pictures("5_dog", "rgb-8.png")
    _ = try pictures.pictures("5_other", "444.jpg")
    var first = try training("a.safetensors", steps: 3)
    first.pictures = PictureSource(pictures.path, prompt: "a sbu dog")
    #expect(throws: Interrupted.self) { _ = try first.run { $0.phase != "training the LoRA" } }
    var others = Array(repeating: first, count: 4)
    others[0].flips = true
    others[1].base.choices.clipSkip = 3
    others[2].base.choices.textParts = 2
    others[3].prior = PriorPictures(folder: try folder.pictures("class", "444.jpg"), prompt: "a dog")
    for other in others {
      let error = #expect(throws: StateError.self) { _ = try other.run { _ in true } }
      #expect(
        error?.reason.hasPrefix("it was made with other pictures, prompts or sizes, another base") == true,
        "\(error?.reason ?? "")")
    }
    // As often beside each other is the same, and so is the layer that is read anyway.
    let manager = FileManager.default
    for name in ["dog", "other"] { try manager.moveItem(atPath: pictures("5_\(name)"), toPath: pictures("2_\(name)")) }
    first.base.choices = .init(clipSkip: 2, textParts: 1)
    #expect(throws: Interrupted.self) { _ = try first.run { $0.phase != "training the LoRA" } }
    try manager.moveItem(atPath: pictures("2_dog"), toPath: pictures("7_dog"))
    #expect(throws: StateError.self) { _ = try first.run { _ in true } }
  }

  @Test("a training that goes on does not see the same noise again, nor writes over what it goes on from")
  func continuing() throws {
    _ = try training("a.safetensors", steps: 1).run { _ in true }
    func seed(_ name: String, start: String?) throws -> String? {
      var training = try training(name, steps: 1, start: start)
      training.seedFollowsPictures = true
      _ = try training.run { _ in true }
      return try AdapterFile(path: folder(name)).metadata["ss_seed"]
    }
    let (fresh, further) = (try seed("b.safetensors", start: nil), try seed("c.safetensors", start: folder("a.safetensors")))
    #expect(fresh != nil && further != nil && fresh != further)

    try FileManager.default.moveItem(atPath: folder("a.safetensors"), toPath: folder("dog-step00002.safetensors"))
    let start = folder("dog-step00002.safetensors")
    var over = try training("dog.safetensors", steps: 3, every: 2, start: start)
    over.output.overwrite = true
    let error = #expect(throws: SettingError.self) { try over.validate() }
    #expect(error?.description.hasPrefix("--checkpoint-every \(start): expected LoRAs on the way that are no files") == true)
    over.checkpointEvery = 1
    #expect(throws: SettingError.self) { try over.validate() }
    over.start = nil
    #expect(throws: Never.self) { try over.validate() }
    over.state.path = start
    #expect(throws: SettingError.self) { try over.validate() }
  }

  @Test("a rate of text encoders needs some to train")
  func textEncoderRate() throws {
    var training = try training("a.safetensors", steps: 1)
    training.training.textEncoderLearningRate = 1e-3
    let error = #expect(throws: SettingError.self) { _ = try training.run { _ in true } }
    #expect(error?.description.hasPrefix("--text-encoder-learning-rate: no layer of a text encoder is trained") == true)
    training.training.targets = try Targets("attention+text-encoders")
    _ = try training.run { _ in true }
    #expect(try AdapterFile(path: folder("a.safetensors")).metadata["ss_text_encoder_lr"] == "0.001")
  }

  @Test("settings of the training are told to whoever reads the file")
  func metadata() throws {
    var training = try training("a.safetensors", steps: 1)
    (training.training.minSNRGamma, training.training.noiseOffset) = (5, 0.05)
    training.base = BaseModel("\(goldens)/pipelines/sd15", choices: .init(clipSkip: 2))
    training.flips = true
    _ = try training.run { _ in true }
    let metadata = try AdapterFile(path: folder("a.safetensors")).metadata
    #expect(["ss_min_snr_gamma", "ss_noise_offset", "ss_clip_skip"].map { metadata[$0] } == ["5.0", "0.05", "2"])
    let record = try JSONDecoder().decode(RunRecord<TrainAdapter>.self, from: bytes(folder("a.safetensors.json")))
    #expect(record.outputs.map(\.path) == [folder("a.safetensors")])
    #expect(record.settings.flips && record.settings.base.choices.clipSkip == 2)
  }
}
