import Foundation
import TestFiles
import TestHub
import Testing

/// Ctrl-C in the middle: exit code 130, the state is saved, and the same command gives the very file of an uninterrupted run.
@Suite struct InterruptionTests {
  /// - Parameter others: settings of which each makes another result.
  func expectSameAfterInterruption(
    _ phase: String, others: [[String]], _ arguments: (_ output: String) -> [String]
  ) throws {
    // The name of the file is part of its metadata, so it is the same in two folders.
    let (wholeFolder, folder) = (try TemporaryFolder(), try TemporaryFolder())
    let whole = try Binary.run(arguments(wholeFolder("a.safetensors")))
    try #require(whole.status == 0, "\(whole.errors)")

    let command = arguments(folder("a.safetensors"))
    let stopped = try Binary.run(command, interruptAfter: phase)
    #expect(stopped.status == 130)
    #expect(stopped.output == "")
    #expect(stopped.errors.contains("a.state.safetensors, the same command continues from it"), "\(stopped.errors)")
    #expect(try folder.names == ["a.state.safetensors"])

    // Other settings, pictures or prompts are not mixed with the state.
    for setting in [["--seed", "99"]] + others {
      let other = try Binary.run(command + setting)
      #expect(other.status == 1, "\(setting)")
      #expect(other.errors.contains("a.state.safetensors"), "\(setting): \(other.errors)")
    }
    let otherPrompt = try Binary.run(command.map { $0 == "a sbu dog" ? "a sbu cat" : $0 })
    #expect(otherPrompt.status == 1)
    #expect(otherPrompt.errors.contains("prompts"), "\(otherPrompt.errors)")
    #expect(try folder.names == ["a.state.safetensors"])

    let resumed = try Binary.run(command)
    try #require(resumed.status == 0, "\(resumed.errors)")
    let lines = resumed.errors.split(whereSeparator: \.isNewline)
    #expect(!lines.contains { $0.contains(phase) && $0.contains(" 1/") }, "it began anew: \(resumed.errors)")
    #expect(try bytes(folder("a.safetensors")) == bytes(wholeFolder("a.safetensors")))
    #expect(try folder.names == wholeFolder.names)
  }

  @Test func training() throws {
    let picture = "\(fixtures)/rgb-8.png"
    let others = [
      ["--batch", "2"], ["--alpha", "1"], ["--weight-decay", "0.5"], ["--targets", "attn2.to_k"], ["--steps", "1"],
    ]
    try expectSameAfterInterruption("training the LoRA", others: others) { output in
      [
        "train", "--base", base, "--images", picture, "--prompt", "a sbu dog", "--rank", "2", "--steps", "40",
        "--learning-rate", "1e-2", "--accumulation", "2", "--output", output,
      ]
    }
  }

  @Test func zipping() throws {
    let loras = try TrainedLoRAs.shared.get()
    let others = [["--batch", "2"], ["--lambda", "1"], ["--fidelity", "squared"]]
    try expectSameAfterInterruption("zipping", others: others) { loras.zip(steps: 20, output: $0) }
  }

  @Test("a download keeps what has come, and the same command fetches the rest and no file twice")
  func fetching() throws {
    let (model, cache, large) = (try FakeModel.pipeline(), try TemporaryCache(), FakeModel.path(of: FakeModel.large))
    let server = try ScriptedServer { request, count in
      var answer = model.answer(request)
      // Less than it says, so that the command waits for more.
      if request.path == large, count == 0 { answer.body = Array(answer.body.prefix(100_000)) }
      return answer
    }
    let environment = [
      "HF_ENDPOINT": server.address, "HF_HOME": cache.path, "HF_HUB_CACHE": cache.path, "HF_HUB_OFFLINE": "0",
      "no_proxy": "*",
    ]
    let command = ["load", "--base", "org/tiny"]
    let partial = "\(cache.model)/blobs/\(model.hash(FakeModel.large)).incomplete"
    let stopped = try Binary.run(command, environment: environment) { errors in
      errors.contains("fetching org/tiny") && (try? bytes(partial))?.isEmpty == false
    }
    #expect(stopped.status == 130 && stopped.output == "", "\(stopped.errors)")
    #expect(stopped.errors.contains("interrupted while fetching org/tiny"), "\(stopped.errors)")
    #expect(
      stopped.errors.contains("the state is in \(cache.path), the same command continues from it"), "\(stopped.errors)")
    let kept = try bytes(partial)
    #expect(try !kept.isEmpty && kept == Data(#require(model.files[FakeModel.large]).prefix(kept.count)))

    let resumed = try Binary.run(command, environment: environment)
    #expect(resumed.status == 0 && resumed.output.hasPrefix(#"{"parameters":"#), "\(resumed.errors)")
    let (whole, others) = (server.requests.filter { $0.path == large }, server.paths.filter { $0 != large })
    #expect(whole.map { $0.headers["range"] } == [nil, "bytes=\(kept.count)-"])
    #expect(Set(others).count == others.count { $0 != FakeModel.listing } + 1, "\(others)")
    #expect(try cache.bytes(FakeModel.large) == model.files[FakeModel.large])
  }
}
