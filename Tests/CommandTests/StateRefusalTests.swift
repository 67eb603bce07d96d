import Foundation
import TestFiles
import Testing

/// A saved state of other settings says which, and no other file passes for a state.
@Suite struct StateRefusalTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private var train: [String] {
    [
      "train", "--base", base, "--images", "\(fixtures)/rgb-8.png", "--prompt", "a sbu dog", "--steps", "40", "--rank", "4",
      "--learning-rate", "1e-2", "--accumulation", "2", "--output", folder("a.safetensors"),
    ]
  }

  private func refusal(_ arguments: [String]) throws -> String {
    let run = try Binary.run(arguments)
    #expect(run.status == 1 && run.output == "", "\(run.errors)")
    // Long messages are broken at spaces.
    return run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  @Test func training() throws {
    let stopped = try Binary.run(train, interruptAfter: "training the LoRA")
    try #require(stopped.status == 130, "\(stopped.errors)")
    let message = try refusal(train + ["--rank", "8", "--seed", "9"])
    #expect(message.contains("a.state.safetensors cannot be continued: --rank is 8, the state was made with 4; --seed is 9, "))
    #expect(message.hasSuffix("Use the settings it was made with, or delete it to start again"), "\(message)")
  }

  @Test func zipping() throws {
    let zip = try TrainedLoRAs.shared.get().zip(steps: 20, output: folder("a.safetensors"))
    let stopped = try Binary.run(zip, interruptAfter: "zipping")
    try #require(stopped.status == 130, "\(stopped.errors)")
    let message = try refusal(zip + ["--lambda", "1", "--seed", "9"])
    #expect(
      message.contains(
        "a.state.safetensors cannot be continued: --lambda is 1.0, the state was made with 0.01; --seed is 9, the state was made with 0."
      ),
      "\(message)")
  }

  @Test("a LoRA named as the state is left alone, and nobody is told to delete it")
  func lora() throws {
    let golden = "\(goldens)/adapters/attention/kohya.safetensors"
    let dog = folder("dog.safetensors")
    try FileManager.default.copyItem(atPath: golden, toPath: dog)
    let zip = try TrainedLoRAs.shared.get().zip(steps: 2, output: folder("b.safetensors"))
    for command in [train, zip] {
      let message = try refusal(command + ["--state", dog])
      #expect(message.contains("dog.safetensors") && message.contains("another file for the state with --state"), "\(message)")
      #expect(!message.contains("delete"), "\(message)")
    }
    #expect(try bytes(dog) == bytes(golden))
  }
}
