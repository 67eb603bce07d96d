import Diffusion
import Foundation
import LoRA
import Merging
import OrderedCollections
import TestFiles
import Testing
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
}
