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

/// What `ziplora zip` says and keeps of LoRAs that have no pictures.
@Suite struct ZipReferencesTests {
  let folder: TemporaryFolder
  private let loras: TrainedLoRAs

  init() throws {
    folder = try TemporaryFolder()
    loras = try TrainedLoRAs.shared.get()
  }

  private func zip(
    _ output: String, subject: String? = nil, style: String? = nil, prompts: Bool = true, joint: [String] = []
  ) -> ZipAdapters {
    func side(_ lora: String, _ prompt: String) -> ZipAdapters.Side {
      .init(lora: WeightedFile(lora), prompt: prompts ? prompt : nil)
    }
    return ZipAdapters(
      base: BaseModel(base), subject: side(subject ?? loras.subject, "a sbu dog"),
      style: side(style ?? loras.style, "a house in szn style"), jointPrompts: joint,
      options: ZipOptions(steps: 1, learningRate: 0.02),
      references: SavedReferences(sampling: .init(count: 2, steps: 2, guidance: 1)),
      output: AdapterOutput(folder("\(output).safetensors")))
  }

  /// What is told before anything is drawn.
  private func warnings(_ zip: ZipAdapters) -> [String] {
    var warnings: [String] = []
    _ = try? zip.run { report in
      warnings += report.warnings
      return !report.phase.hasPrefix("drawing")
    }
    return warnings
  }

  @Test("a run that is stopped while LoRAs draw goes on with the next picture, to the same file")
  func goesOn() throws {
    let stopped = try #require(throws: Interrupted.self) {
      _ = try zip("a").run { !$0.phase.hasPrefix("drawing references with dog") || $0.step < 3 }
    }
    #expect(stopped.state == folder("a.references"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("a.references")).count == 1)
    var drawn = 0
    _ = try zip("a").run { report in
      if report.phase.hasPrefix("drawing references with dog") { drawn += 1 }
      return true
    }
    #expect(drawn == 2, "two steps of the one picture that was left")
    _ = try zip("b").run { _ in true }
    let names = ["a", "b"].map { folder("\($0).coefficients.safetensors") }
    #expect(try bytes(names[0]) == bytes(names[1]))
    #expect(!FileManager.default.fileExists(atPath: folder("a.references")))
  }

  @Test("what is likely not meant is told, and what is meant is not")
  func doubts() throws {
    #expect(warnings(zip("a", joint: ["a sbu dog in szn style"])) == [])
    let strange = warnings(zip("a", joint: ["zorglub quux"]))
    #expect(
      strange == [
        "--joint-prompt \"zorglub quux\" has none of the words that \(loras.subject) was trained with and no other: sbu, dog",
        "--joint-prompt \"zorglub quux\" has none of the words that \(loras.style) was trained with and no other: "
          + "house, in, szn, style",
      ])
    try FileManager.default.copyItem(atPath: loras.subject, toPath: folder("copy.safetensors"))
    #expect(
      warnings(zip("a", style: folder("copy.safetensors"))) == [
        "\(loras.subject) and \(folder("copy.safetensors")) are the same LoRA"
      ])
  }

  @Test func zippingThreeLoRAsWithoutPictures() throws {
    let kept = folder("kept")
    func zip(_ name: String) throws -> Binary {
      try Binary.run([
        "zip", "--base", base, "--subject", loras.subject, "--style", loras.style, "--lora", "\(loras.subject):0.5",
        "--lora-prompt", "a dog", "--steps", "3", "--learning-rate", "0.02", "--references", "1", "--reference-steps", "2",
        "--reference-folder", kept, "--output", folder("\(name)/zip.safetensors"),
      ])
    }
    for name in ["one", "two"] {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
    }
    let first = try zip("one")
    try #require(first.status == 0, "\(first.errors)")
    #expect(first.errors.contains("drawing references with dog"), "\(first.errors)")
    #expect(first.output.contains("LoRA 3"), "\(first.output)")
    let merged = try AdapterFile(path: folder("one/zip.safetensors"))
    #expect(merged.layers.values.allSatisfy { $0.rank == 6 })
    // What the LoRAs' metadata and the command line say, in the order of the LoRAs.
    #expect(merged.metadata["ziplora.prompts"] == "a sbu dog\na house in szn style\na dog")
    #expect(try FileManager.default.contentsOfDirectory(atPath: kept).count == 3)

    // The references are found again, and are all that another run needs for the same file.
    let second = try zip("two")
    try #require(second.status == 0, "\(second.errors)")
    #expect(!second.errors.contains("drawing references"), "\(second.errors)")
    #expect(try bytes(folder("two/zip.safetensors")) == bytes(folder("one/zip.safetensors")))
  }

  @Test("beside its pictures, a LoRA draws references of what else it has to keep")
  func referencesOfOtherPrompts() throws {
    func zip(_ name: String, _ options: String...) throws -> Binary {
      let run = try Binary.run(loras.zip(steps: 2, output: folder("\(name).safetensors")) + options)
      try #require(run.status == 0, "\(run.errors)")
      return run
    }
    _ = try zip("plain")
    let drawing = try zip(
      "drawing", "--style-reference-prompt", "a cat in szn style", "--style-reference-prompt", "a mug in szn style",
      "--references", "2", "--reference-steps", "2")
    #expect(drawing.errors.contains("drawing references with ink") && drawing.errors.contains("8/8"), "\(drawing.errors)")
    #expect(!drawing.errors.contains("drawing references with dog"))
    #expect(try bytes(folder("drawing.safetensors")) != bytes(folder("plain.safetensors")))
    // They do not call the LoRA up.
    let prompts = try AdapterFile(path: folder("drawing.safetensors")).metadata["ziplora.prompts"]
    #expect(prompts == "a sbu dog\na house in szn style")
    #expect(try folder.names.allSatisfy { !$0.contains("references") }, "what was drawn is gone")
  }

  @Test("a prompt that is only a tag is told and recorded")
  func tags() throws {
    let tagged = folder("tagged.safetensors")
    let file = try AdapterFile(path: loras.style)
    let names = try Checkpoint(path: base).moduleNames
    var adapter = try file.adapter(for: names)
    adapter.metadata = ["ss_tag_frequency": #"{"10_ink": {"1girl": 40, "szn style": 30}}"#]
    try AdapterFile.write(adapter, to: tagged, as: Dialects.kohya, for: names)
    let zip = zip("a", style: tagged, prompts: false)
    var told: [String] = []
    _ = try zip.run { report in
      told += report.warnings.filter { $0.contains("tag") }
      return true
    }
    #expect(
      told == [
        "\(tagged): its prompt is taken to be its most frequent tag, \"1girl\"; give what calls it up with --style-prompt"
      ])
    let record = try JSONDecoder().decode(RunRecord<ZipAdapters>.self, from: bytes(folder("a.safetensors.json")))
    #expect(record.settings.style.prompt == "1girl" && record.settings.subject.prompt == "a sbu dog")
  }

  @Test("of three LoRAs each is summed up over the layers that it changes")
  func layersOfOneLoRA() throws {
    let (third, other) = (folder("keys.safetensors"), folder("convolutions.safetensors"))
    let names = try Checkpoint(path: base).moduleNames
    let adapter = try AdapterFile(path: loras.style).adapter(for: names)
    try AdapterFile.write(
      Adapter(factors: adapter.factors.filter { $0.key.hasSuffix("attn2.to_k") }), to: third, as: Dialects.kohya, for: names)
    let convolution = "unet.conv_in"
    let shape = try #require(names.shapes[convolution])
    let alone = Adapter(factors: [
      convolution: LowRankFactors(down: .ones([1] + shape.dropFirst()), up: .ones([shape[0], 1, 1, 1]), alpha: 1)
    ])
    try AdapterFile.write(alone, to: other, as: Dialects.kohya, for: names)
    let run = try Binary.run(
      loras.zip(steps: 2, output: folder("zip.safetensors")) + [
        "--lora", third, "--lora", other, "--lora-prompt", "a house", "--lora-prompt", "a dog", "--references", "1",
        "--reference-steps", "2",
      ])
    try #require(run.status == 0, "\(run.errors)")
    let report = try JSONDecoder().decode(MergeReport.self, from: bytes(folder("zip.report.json")))
    let own = report.layers.compactMap { $0.coefficients(of: "keys")?.mean }
    #expect(own.count == adapter.factors.keys.count { $0.hasSuffix("attn2.to_k") } && own.count < report.layers.count)
    let row = try #require(run.output.split(separator: "\n").first { $0.hasPrefix("mean coefficient") })
    let cells = row.split(whereSeparator: \.isWhitespace).suffix(2)
    #expect(abs(try #require(Double(cells[cells.startIndex])) - own.reduce(0, +) / Double(own.count)) < 1e-3)
    #expect(cells.last == "-", "it has no layer with another")
  }

  @Test("settings of a LoRA's training that are not met here are told", arguments: [("sdxl", 1), ("sd15", 2)])
  func foreignTraining(base: String, doubts: Int) throws {
    let (base, lora) = ("\(goldens)/pipelines/\(base)", folder("foreign.safetensors"))
    let names = try Checkpoint(path: base).moduleNames
    let (layer, shape) = try #require(names.shapes.first { $0.key.hasSuffix("attn1.to_q") })
    let factors = LowRankFactors(down: .ones([1, shape[1]]), up: .zeros([shape[0], 1]), alpha: 1)
    let metadata: OrderedDictionary = ["ss_clip_skip": "2", "modelspec.prediction_type": "v"]
    try AdapterFile.write(Adapter(factors: [layer: factors], metadata: metadata), to: lora, as: Dialects.kohya, for: names)
    var told: [String] = []
    let drawing = GenerateImages(
      base: BaseModel(base), prompts: ["a cat"], loras: [WeightedFile(lora)], steps: 1, output: folder("foreign.png"))
    _ = try drawing.run { report in
      told += report.warnings
      return true
    }
    #expect(told.count == doubts && told.last?.contains("was trained for a base that predicts v") == true, "\(told)")
    #expect(
      doubts == 1
        || told[0].hasSuffix(
          "was trained with clip skip 2 (ss_clip_skip), and here it is 1, with which it may act otherwise; "
            + "--clip-skip 2 is what it was trained with"),
      "\(told)")
    // Said to be so, it is no doubt any more.
    told = []
    var skipping = drawing
    skipping.base.choices.clipSkip = 2
    skipping.output = folder("skipping.png")
    _ = try skipping.run { report in
      told += report.warnings
      return true
    }
    #expect(told.count == 1 && told[0].contains("predicts v"), "\(told)")
    let parameters = try Image.pngText(of: [UInt8](bytes(skipping.output))).first { $0.key == "parameters" }?.value
    #expect(parameters?.contains(", Clip skip: 2, Version: ziplora") == true, "\(parameters ?? "none")")
  }
}
