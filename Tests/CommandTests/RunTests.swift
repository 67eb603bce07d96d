import Foundation
import Images
import LoRA
import Merging
import OrderedCollections
import SafeTensors
import TestFiles
import Testing
import Torch
import Training
import Workflows

/// What the commands write and print when all is well.
@Suite struct RunTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func json(_ path: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: bytes(path)) as? [String: Any])
  }

  @Test func zippingTwoTrainedLoRAs() throws {
    let loras = try TrainedLoRAs.shared.get()
    let run = try Binary.run(loras.zip(steps: 5, output: folder("zip.safetensors")))
    try #require(run.status == 0, "\(run.errors)")
    #expect(
      try folder.names == ["zip.coefficients.safetensors", "zip.report.json", "zip.safetensors", "zip.safetensors.json"])
    for text in [
      "mean coefficient", "136 layers zipped, 0 added up, 0 in one LoRA only", "5 steps: all steps done",
      folder("zip.report.json"), "not asked for: a prompt of both, such as --joint-prompt \"a sbu dog in szn style\"",
    ] {
      #expect(run.output.contains(text), "\(run.output)")
    }
    #expect(run.errors.contains("planning memory") && run.errors.contains("GiB at most"), "\(run.errors)")
    #expect(run.errors.contains("zipping"))

    let merged = try AdapterFile(path: folder("zip.safetensors"))
    #expect(merged.dialect.name == "kohya")
    #expect(merged.layers.values.allSatisfy { $0.rank == 4 })
    #expect(merged.metadata["modelspec.merged_from"] == "dog, ink")
    let (coefficients, names) = try MergerCoefficients.read(folder("zip.coefficients.safetensors"))
    #expect(names == ["dog", "ink"])
    #expect(coefficients.vectors.count == 136)

    let report = try JSONDecoder().decode(MergeReport.self, from: bytes(folder("zip.report.json")))
    #expect(report.records.count == 5)
    #expect(report.inputs.map(\.name) == ["dog", "ink"])

    let record = try JSONDecoder().decode(RunRecord<ZipAdapters>.self, from: bytes(folder("zip.safetensors.json")))
    #expect(record.workflow == "zip")
    #expect(record.settings.options.steps == 5)
    #expect(record.versions.libtorch == Engine.version)
    #expect(record.seconds > 0)
    #expect(record.outputs[0] == (try FileDigest(of: folder("zip.safetensors"))))
    #expect(record.inputs.contains(try FileDigest(of: loras.subject)))
    #expect(record.inputs.contains { $0.path == "\(base)/unet/diffusion_pytorch_model.safetensors" })
  }

  @Test("a joint prompt is asked of the pictures that are there, by updates from direct merge on")
  func zippingWithAJointPrompt() throws {
    let loras = try TrainedLoRAs.shared.get()
    func zip(_ name: String, _ options: String...) throws -> (run: Binary, report: MergeReport) {
      let run = try Binary.run(loras.zip(steps: 2, output: folder("\(name).safetensors")) + options)
      try #require(run.status == 0, "\(run.errors)")
      return (run, try JSONDecoder().decode(MergeReport.self, from: bytes(folder("\(name).report.json"))))
    }
    let joint = try zip("joint", "--joint-prompt", "a sbu dog in szn style", "--joint-prompt", "a sbu dog as szn")
    var expected = ZipOptions(method: .joint)
    (expected.steps, expected.learningRate) = (2, 0.02)
    #expect(joint.report.options == expected)
    #expect(joint.report.records.allSatisfy { $0.fidelity.count == 3 })
    #expect(joint.run.errors.contains("together") && !joint.run.errors.contains("drawing"), "\(joint.run.errors)")
    #expect(!joint.run.output.contains("not asked for"))
    let solved = try zip("solved", "--joint-prompt", "a sbu dog in szn style", "--method", "closed-form")
    #expect(solved.report.options?.closedForm == ClosedForm() && solved.report.records[0].fidelity.count == 3)
  }

  @Test func aLoRAThatNamesNoPromptNeedsOne() throws {
    let silent = "\(goldens)/adapters/attention/kohya.safetensors"
    let run = try Binary.run([
      "zip", "--base", base, "--subject", silent, "--style", silent, "--output", folder("zip.safetensors"),
    ])
    #expect(run.status == 1)
    #expect(run.errors.contains("its metadata names no prompt"), "\(run.errors)")
    #expect(run.errors.contains("give it with --subject-prompt"), "\(run.errors)")
    #expect(try folder.names == [])
  }

  @Test func digestIsSHA256() throws {
    try Data("abc".utf8).write(to: URL(filePath: folder("abc")))
    // FIPS 180-4, the example of one block.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    #expect(try FileDigest(of: folder("abc")).sha256 == expected)
  }

  @Test func sameSeedGivesTheSameBytes() throws {
    func train(_ name: String, seed: String) throws -> Data {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
      try Binary.succeed(
        "train", "--base", base, "--images", "\(fixtures)/rgb-8.png", "--prompt", "a", "--steps", "2", "--rank", "2",
        "--seed", seed, "--output", folder("\(name)/a.safetensors"))
      return try bytes(folder("\(name)/a.safetensors"))
    }
    func generate(_ name: String, seed: String) throws -> Data {
      try Binary.succeed(
        "generate", "--base", base, "--prompt", "a", "--steps", "2", "--sampler", "euler-ancestral", "--seed", seed,
        "--output", folder(name))
      return try bytes(folder(name))
    }
    let lora = try train("one", seed: "3")
    #expect(try train("two", seed: "3") == lora)
    #expect(try train("three", seed: "4") != lora)
    let picture = try generate("one.png", seed: "3")
    #expect(try generate("two.png", seed: "3") == picture)
    #expect(try generate("three.png", seed: "4") != picture)
  }

  @Test func trainingWithPriorAndSamplePictures() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png", "444.jpg")
    try "prompt of all".write(toFile: "\(pictures)/prompt.txt", atomically: true, encoding: .utf8)
    try Binary.succeed(
      "train", "--base", base, "--images", pictures, "--rank", "3", "--alpha", "1.5", "--steps", "2", "--batch", "2",
      "--prior-prompt", "a dog", "--prior-count", "1", "--sample-prompt", "a dog", "--sample-every", "2", "--dialect",
      "diffusers", "--save-dtype", "bfloat16", "--targets", "attn2.to_k", "--dtype", "bfloat16", "--output",
      folder("a.safetensors"))
    #expect(
      try folder.names == ["a-prior", "a-samples", "a.safetensors", "a.safetensors.json", "dog"])
    #expect(try Image(contentsOf: folder("a-samples/step00002-1.png")).width == 48)
    #expect(try ImageFolder(contentsOf: folder("a-prior")).pictures.count == 1)
    let file = try AdapterFile(path: folder("a.safetensors"))
    #expect(file.dialect.name == "diffusers")
    #expect(file.layers.values.allSatisfy { $0.rank == 3 && $0.alpha == 3 && $0.dtype == .bfloat16 })
    #expect(file.layers.keys.allSatisfy { $0.hasSuffix("attn2.to_k") })
    #expect(file.metadata["modelspec.trigger_phrase"] == "prompt of all")

    // What the base drew of another class is no prior of this one.
    let prior = try bytes(folder("a-prior/prior-0001.png"))
    let other = try Binary.run([
      "train", "--base", base, "--images", pictures, "--rank", "3", "--steps", "1", "--prior-prompt", "a cat", "--prior-count",
      "2", "--output", folder("a.safetensors"), "--overwrite",
    ])
    #expect(other.status == 1)
    #expect(
      other.errors.contains("prior-0001.png: found a prior picture drawn of \"a dog\", expected one of \"a cat\""),
      "\(other.errors)")
    #expect(try bytes(folder("a-prior/prior-0001.png")) == prior)
  }

  @Test("a run that was stopped while it drew pictures of the class draws the others")
  func stoppedPrior() throws {
    let training = TrainAdapter(
      base: BaseModel(base), pictures: PictureSource("\(fixtures)/rgb-8.png", prompt: "a sbu dog"),
      training: .init(rank: 2, steps: 1), prior: PriorPictures(prompt: "a dog"),
      output: AdapterOutput(folder("a.safetensors")))
    var totals: [Int] = []
    for _ in 0..<2 {
      #expect(throws: Interrupted.self) {
        _ = try training.run { report in
          guard report.phase == "drawing prior pictures" else { return true }
          if report.step == 0 { totals.append(report.total) }
          // The first picture is there before the first step of the second one.
          return report.step < 20
        }
      }
    }
    #expect(totals == [100 * 20, 99 * 20])
  }

  @Test("pictures of the class are drawn in batches, and one that is missing again to the same bytes")
  func batchesOfPrior() throws {
    let training = TrainAdapter(
      base: BaseModel(base), pictures: PictureSource("\(fixtures)/rgb-8.png", prompt: "a sbu dog"),
      training: .init(rank: 2, steps: 1, batch: 2), prior: PriorPictures(prompt: "a dog", count: 3),
      output: AdapterOutput(folder("a.safetensors"), overwrite: true))
    func total() throws -> Int? {
      var total: Int?
      _ = try training.run { report in
        if report.phase == "drawing prior pictures" { total = report.total }
        return true
      }
      return total
    }
    let files = (1...3).map { folder("a-prior/prior-000\($0).png") }
    #expect(try total() == 4 * 20)
    let drawn = try files.map(bytes)
    #expect(Set(drawn).count == 3)
    try FileManager.default.removeItem(atPath: files[1])
    #expect(try total() == 2 * 20)
    #expect(try files.map(bytes) == drawn)
    #expect(try total() == nil)
  }

  @Test("another base whose files have the same names and sizes is another base")
  func otherBaseOfTheSameSize() throws {
    let copy = folder("base")
    try FileManager.default.copyItem(atPath: base, toPath: copy)
    func train(_ path: String) throws -> Binary {
      try Binary.run([
        "train", "--base", path, "--images", "\(fixtures)/rgb-8.png", "--prompt", "a sbu dog", "--rank", "2", "--steps", "2",
        "--prior-prompt", "a dog", "--prior-count", "1", "--overwrite", "--output", folder("a.safetensors"),
      ])
    }
    let first = try train(copy)
    try #require(first.status == 0, "\(first.errors)")
    let weights = "\(copy)/unet/diffusion_pytorch_model.safetensors"
    let old = try bytes(weights)
    var changed = old
    changed[changed.count - 2] ^= 1
    try changed.write(to: URL(filePath: weights))
    let other = try train(copy)
    #expect(other.status == 1 && other.errors.contains("drawn by another base"), "\(other.errors)")
    try old.write(to: URL(filePath: weights))
    #expect(try train(copy).status == 0)
  }

  @Test("a LoRA may be named by the folder that peft or diffusers keep it in")
  func loraInAFolder() throws {
    let lora = folder("cat")
    try FileManager.default.createDirectory(atPath: lora, withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      atPath: "\(goldens)/adapters/attention/peft.safetensors", toPath: "\(lora)/adapter_model.safetensors")
    try Binary.succeed(
      "generate", "--base", base, "--prompt", "a dog", "--lora", lora, "--steps", "1", "--output", folder("pictures"))
    let record = try JSONDecoder().decode(RunRecord<GenerateImages>.self, from: bytes(folder("pictures/run.json")))
    #expect(record.inputs.map(\.path).contains("\(lora)/adapter_model.safetensors"))
  }

  @Test func aPictureThatIsNoNumberIsNotWritten() throws {
    let run = try Binary.run([
      "generate", "--base", base, "--prompt", "a dog", "--lora", "\(goldens)/adapters/attention/kohya.safetensors:1e30",
      "--steps", "2", "--output", folder("black.png"),
    ])
    #expect(run.status == 1)
    #expect(run.errors.contains("black.png: the picture came out as NaN; use --dtype bfloat16 or float32"), "\(run.errors)")
    #expect(try folder.names.isEmpty)
  }

  @Test func picturesSayHowTheyWereMade() throws {
    let lora = "\(goldens)/adapters/attention/kohya.safetensors"
    // A name with a colon that is no weight.
    let other = folder("12:30.safetensors")
    try FileManager.default.copyItem(atPath: "\(goldens)/adapters/attention/peft.safetensors", toPath: other)
    let output = try Binary.succeed(
      "generate", "--base", base, "--prompt", "a dog", "--prompt", "ein Haus, größer", "--negative-prompt", "ugly",
      "--lora", "\(lora):0.5", "--lora", other, "--sampler", "dpm++2m", "--steps", "2", "--guidance", "4.5", "--seed", "7",
      "--count", "2", "--width", "40", "--height", "56", "--output", folder("pictures"))
    let names = ["0001-seed7.png", "0002-seed8.png", "0003-seed7.png", "0004-seed8.png"]
    #expect(output == names.map { folder("pictures/\($0)\n") }.joined())
    func texts(_ name: String) throws -> [String] {
      try Image.pngText(of: [UInt8](bytes(folder(name)))).map { "\($0.key): \($0.value)" }
    }
    let text = try Image.pngText(of: [UInt8](bytes(folder("pictures/0004-seed8.png"))))
    #expect(text.map(\.key) == ["parameters", "ziplora"])
    #expect(
      text[0].value == """
        ein Haus, größer <lora:kohya:0.5> <lora:12:30:1>
        Negative prompt: ugly
        Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 8, Size: 40x56, Model: sdxl, Version: ziplora 0.1.0
        """)
    let settings = try #require(try JSONSerialization.jsonObject(with: Data(text[1].value.utf8)) as? [String: Any])
    #expect(settings["seed"] as? Int == 8)
    #expect(settings["sampler"] as? String == "dpm++2m")
    #expect((settings["loras"] as? [[String: Any]])?.compactMap { $0["weight"] as? Double } == [0.5, 1])
    let record = try JSONDecoder().decode(RunRecord<GenerateImages>.self, from: bytes(folder("pictures/run.json")))
    #expect(record.settings.loras == [WeightedFile(lora, weight: 0.5), WeightedFile(other)])
    #expect(record.outputs.count == 4)

    // A picture is the same whatever it was made with.
    try Binary.succeed(
      "generate", "--base", base, "--prompt", "ein Haus, größer", "--negative-prompt", "ugly", "--lora", "\(lora):0.5",
      "--lora", other, "--sampler", "dpm++2m", "--steps", "2", "--guidance", "4.5", "--seed", "8", "--width", "40",
      "--height", "56", "--output", folder("alone.png"))
    #expect(try bytes(folder("alone.png")) == bytes(folder("pictures/0004-seed8.png")))
    try Binary.succeed(
      "generate", "--base", base, "--prompt", "a dog", "--prompt", "ein Haus, größer", "--negative-prompt", "ugly",
      "--lora", "\(lora):0.5", "--lora", other, "--sampler", "dpm++2m", "--steps", "2", "--guidance", "4.5", "--seed", "7",
      "--count", "2", "--batch", "3", "--width", "40", "--height", "56", "--output", folder("three at once"))
    for name in names {
      let (one, other) = (
        try Image(contentsOf: folder("pictures/\(name)")), try Image(contentsOf: folder("three at once/\(name)"))
      )
      #expect((one.tensor - other.tensor).abs().max().item() <= 1.0 / 255)
      // A seed or a prompt of another picture of the batch would stand here.
      #expect(try texts("three at once/\(name)") == texts("pictures/\(name)"), "\(name)")
    }
    #expect(Set(try names.map { try texts("pictures/\($0)") }).count == 4)
  }

  @Test("predictions of LoRAs are mixed by their weights")
  func combiningPredictions() throws {
    let loras = ["attention/kohya", "convolution/kohya"].map { "\(goldens)/adapters/\($0).safetensors" }
    func draw(_ name: String, _ options: String...) throws -> Tensor {
      let run = try Binary.run(
        ["generate", "--base", base, "--prompt", "a dog", "--steps", "2", "--output", folder(name)] + options)
      try #require(run.status == 0, "\(run.errors)")
      return try Image(contentsOf: folder(name)).tensor
    }
    let first = try draw("first.png", "--lora", loras[0])
    #expect(
      try draw("none of the second.png", "--combine", "predictions", "--lora", loras[0], "--lora", "\(loras[1]):0").equals(first))
    let mixed = try draw("mixed.png", "--combine", "predictions", "--lora", loras[0], "--lora", "\(loras[1]):3")
    #expect(!mixed.equals(first))
    #expect(!mixed.equals(try draw("added.png", "--lora", loras[0], "--lora", "\(loras[1]):3")))
    let text = try Image.pngText(of: [UInt8](bytes(folder("mixed.png"))))
    #expect(text[1].value.contains(#""combination":"predictions""#))
    #expect(try draw("one change.png", "--combine", "changes", "--lora", loras[0], "--lora", "\(loras[1]):0").equals(first))
    let changes = try draw("changes.png", "--combine", "changes", "--lora", loras[0], "--lora", loras[1])
    let both = try draw("both.png", "--lora", loras[0], "--lora", loras[1])
    #expect([first, mixed, both].allSatisfy { !changes.equals($0) })
  }

  @Test func aPromptThatIsTooLongIsSaidToBe() throws {
    let prompt = String(repeating: "a ", count: 75) + "dog"
    let long = try Binary.run(
      ["generate", "--base", base, "--prompt", prompt, "--steps", "1", "--output", folder("long.png")])
    try #require(long.status == 0, "\(long.errors)")
    #expect(long.errors.contains("too long for the text encoders; they do not read its end: \""), "\(long.errors)")
    #expect(long.errors.contains("dog"), "\(long.errors)")
    let short = try Binary.run(
      ["generate", "--base", base, "--prompt", "a dog", "--steps", "1", "--output", folder("short.png")])
    #expect(!short.errors.contains("warning"), "\(short.errors)")
  }

  @Test func inspectingForPeople() throws {
    let golden = "\(goldens)/adapters/text/kohya.safetensors"
    let text = try Binary.succeed("inspect", golden)
    let header = try Binary.succeed("inspect", golden, "--header")
    #expect(header.contains("dialect") && header.contains("rank") && text.contains("norm") && !header.contains("norm"))
    for line in [
      "  dialect   kohya", "  layers    228, float32", "  rank      4", "  alpha     2", "  lora_unet_middle_block_1  ",
    ] {
      #expect(text.contains(line), "\(text)")
    }
    let two = try Binary.succeed("inspect", golden, "\(goldens)/adapters/attention/peft.safetensors", "--base", base)
    #expect(two.contains("136 shared layers (92 and 0 in one file only)"), "\(two)")
  }

  @Test func inspectingForPrograms() throws {
    let golden = "\(goldens)/adapters/attention/kohya.safetensors"
    let text = try Binary.succeed("inspect", golden, golden, "--json")
    let outcome = try JSONDecoder().decode(InspectAdapters.Outcome.self, from: Data(text.utf8))
    #expect(outcome.files.map(\.layers) == [136, 136])
    let similarity = try #require(outcome.similarity)
    #expect(similarity.layers.count == 136)
    // A LoRA is like itself in every column.
    #expect(similarity.layers.allSatisfy { abs($0.meanCosine - 1) < 1e-9 && abs($0.overlap - 1) < 1e-9 })
  }

  @Test func weightsOfLoRAs() throws {
    #expect(try WeightedFile(argument: "a.safetensors") == WeightedFile("a.safetensors"))
    #expect(try WeightedFile(argument: "a.safetensors:0.5") == WeightedFile("a.safetensors", weight: 0.5))
    #expect(try WeightedFile(argument: "a:b.safetensors:-1") == WeightedFile("a:b.safetensors", weight: -1))
    #expect(try WeightedFile(argument: "C:\\a.safetensors") == WeightedFile("C:\\a.safetensors"))
    let golden = "\(goldens)/adapters/attention/kohya.safetensors"
    #expect(throws: SettingError("\"strong\" is no weight: expected a number, as in \(golden):0.8")) {
      try WeightedFile(argument: "\(golden):strong")
    }
    for command in [["merge", "--method", "direct"], ["generate", "--base", base, "--prompt", "a"]] {
      let run = try Binary.run(command + ["--lora", "\(golden):strong", "--output", "nowhere"])
      #expect(run.status != 0)
      #expect(run.errors.contains("\"strong\" is no weight"), "\(run.errors)")
    }
  }
}
