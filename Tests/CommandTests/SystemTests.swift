import Foundation
import LoRA
import Merging
import TestFiles
import Testing
import Torch
import Training
import Workflows

/// What the system around the command may do to it: names in other encodings, limits, and a second run beside it.
@Suite struct SystemTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("names that are no UTF-8 are refused, as Swift would make other names of them")
  func encodings() throws {
    for line in [#""$0" inspect "$(printf 'l\377.safetensors')""#, #""$0" generate --output "$(printf '\376')" "$@""#] {
      let run = try Binary.run(shell: line, ["--base", base, "--prompt", "a dog"])
      #expect(run.status == 64 && run.errors.contains("found an argument that is not UTF-8; rename the file"), "\(run.errors)")
    }
    #expect(try Binary.run(shell: #""$0" inspect größe.safetensors"#).status == 1)
  }

  @Test("a limit on the size of files ends a run with a message, and leaves nothing")
  func fileSize() throws {
    let golden = "\(goldens)/adapters/attention/kohya.safetensors"
    // In 512 bytes of dash, or 1024 of other shells.
    let run = try Binary.run(
      shell: #"ulimit -f 8; exec "$0" "$@""#, ["convert", golden, "--base", base, "--output", folder("a.safetensors")])
    #expect(run.status == 1 && run.errors.contains("a.safetensors: cannot be written"), "\(run.status) \(run.errors)")
    #expect(try folder.names.isEmpty)
  }

  private func expectBusy(_ body: () throws -> Void) {
    let error = #expect(throws: SettingError.self, performing: body)
    #expect(
      error?.description
        == "\(folder("a.state.safetensors")): another run is at work with this state; let it finish or stop it, or "
        + "choose another --output")
  }

  @Test("two trainings do not write one state")
  func training() throws {
    let training = TrainAdapter(
      base: BaseModel(base), pictures: PictureSource("\(fixtures)/rgb-8.png", prompt: "a sbu dog"),
      training: .init(rank: 2, steps: 3), output: AdapterOutput(folder("a.safetensors")))
    var tries = 0
    _ = try training.run { report in
      if report.phase == "training the LoRA" {
        tries += 1
        expectBusy { _ = try training.run { _ in true } }
      }
      return true
    }
    #expect(tries == 3)
    #expect(try folder.names == ["a.safetensors", "a.safetensors.json"])
    // One that was stopped has let it go.
    var again = training
    again.output.overwrite = true
    #expect(throws: Interrupted.self) { _ = try again.run { $0.phase != "training the LoRA" } }
    _ = try again.run { _ in true }
    #expect(try folder.names == ["a.safetensors", "a.safetensors.json"])
  }

  @Test("nor do two zips, and what was drawn is told where one fails")
  func zipping() throws {
    let loras = try TrainedLoRAs.shared.get()
    var options = ZipOptions(method: .paper)
    options.steps = 2
    var zip = ZipAdapters(
      base: BaseModel(base), subject: .init(lora: WeightedFile(loras.subject)), style: .init(lora: WeightedFile(loras.style)),
      options: options, references: SavedReferences(sampling: .init(count: 1, steps: 2)),
      output: AdapterOutput(folder("a.safetensors")))
    var tries = 0
    _ = try zip.run { report in
      if report.phase == "zipping" {
        tries += 1
        expectBusy { _ = try zip.run { _ in true } }
      }
      return true
    }
    #expect(tries > 0)
    zip.output = AdapterOutput(folder("b.safetensors"))
    zip.options.learningRate = 1e300
    var told: [String] = []
    #expect(throws: MergeError.self) {
      _ = try zip.run { report in
        told += report.warnings
        return true
      }
    }
    #expect(told.last == "\(folder("b.references")): keeps what the LoRAs have drawn, for the next run", "\(told)")
  }

  @Test("a file that is no state is told before the work")
  func noState() throws {
    let command = [
      "train", "--base", base, "--images", "\(fixtures)/rgb-8.png", "--prompt", "a sbu dog", "--rank", "2", "--steps", "2",
      "--output", folder("a.safetensors"),
    ]
    try Data("x".utf8).write(to: URL(filePath: folder("a.state.safetensors")))
    let run = try Binary.run(command)
    #expect(run.status == 1 && !run.errors.contains("encoding pictures"), "\(run.errors)")
    let message = run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(message.contains("a.state.safetensors cannot be continued: holds 1 bytes"), "\(message)")
    #expect(message.contains("If it is a state, delete it to start again"), "\(message)")
    #expect(try folder.names == ["a.state.safetensors"])
    let loras = try TrainedLoRAs.shared.get()
    let zip = try Binary.run(loras.zip(steps: 1, output: folder("a.safetensors")))
    #expect(zip.status == 1 && zip.errors.contains("cannot be continued: holds 1 bytes"), "\(zip.errors)")
    // What cannot be read may be whole.
    try FileManager.default.removeItem(atPath: folder("a.state.safetensors"))
    try FileManager.default.createDirectory(atPath: folder("a.state.safetensors"), withIntermediateDirectories: false)
    let unreadable = try Binary.run(command)
    #expect(unreadable.status == 1 && !unreadable.errors.contains("delete"), "\(unreadable.errors)")
  }
}
