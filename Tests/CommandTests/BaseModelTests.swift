import Foundation
import SafeTensors
import TestFiles
import TestSupport
import Testing
import Torch

/// What `--base` and the options beside it may be.
@Suite struct BaseModelTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Variables for a cache with the small base as `org/tiny`, that lies offline.
  func cache() throws -> [String: String] {
    let commit = String(repeating: "0123456789", count: 4)
    let model = folder("hub/models--org--tiny")
    for part in ["refs", "snapshots"] {
      try FileManager.default.createDirectory(atPath: "\(model)/\(part)", withIntermediateDirectories: true)
    }
    try commit.write(toFile: "\(model)/refs/main", atomically: true, encoding: .utf8)
    try FileManager.default.createSymbolicLink(atPath: "\(model)/snapshots/\(commit)", withDestinationPath: base)
    return ["HF_HUB_CACHE": folder("hub"), "HF_HUB_OFFLINE": "1"]
  }

  func predict(_ options: String..., to name: String, in environment: [String: String] = [:]) throws -> Binary {
    try Binary.run(["predict", "--prompt", "a cat", "--output", folder(name)] + options, environment: environment)
  }

  @Test func modelOfTheHubInTheCache() throws {
    let environment = try cache()
    let cached = try predict("--base", "org/tiny", to: "cached.safetensors", in: environment)
    try #require(cached.status == 0, "\(cached.errors)")
    let plain = try predict("--base", base, "--vae", "\(base)/vae", "--tokenizer", base, to: "plain.safetensors")
    try #require(plain.status == 0, "\(plain.errors)")
    #expect(try bytes(folder("cached.safetensors")) == bytes(folder("plain.safetensors")))
  }

  @Test("a model in one file with original names predicts what the folder does", arguments: ["sdxl", "sd15"])
  func modelInOneFile(name: String) throws {
    let checkpoint = try OriginalCheckpoint(name)
    try checkpoint.write()
    let single = try predict("--base", checkpoint.path, "--config", checkpoint.pipeline, to: "single.safetensors")
    try #require(single.status == 0, "\(single.errors)")
    let parts = try predict("--base", checkpoint.pipeline, to: "parts.safetensors")
    try #require(parts.status == 0, "\(parts.errors)")
    let (found, expected) = try (
      SafeTensorsCollection(path: folder("single.safetensors")), SafeTensorsCollection(path: folder("parts.safetensors"))
    )
    #expect(found.keys == expected.keys)
    // Equal weights elsewhere in memory: sums in another order.
    for key in expected.keys { #expect(try difference(found.tensor(key), expected.tensor(key)) < 1e-6, "\(key)") }
  }

  @Test func modelOfTheHubThatTheCacheLacks() throws {
    let run = try predict("--base", "org/other", to: "a.safetensors", in: try cache())
    #expect(run.status == 1)
    #expect(run.errors.hasPrefix("Error: org/other: no such folder or file here; HF_HUB_OFFLINE forbids to fetch it, and"))
    #expect(run.errors.contains("    unet/diffusion_pytorch_model.safetensors\n"))
    #expect(run.errors.contains("hf download org/other --revision main model_index.json"))
  }

  @Test func inspectionAgainstABase() throws {
    let file = "\(goldens)/adapters/attention/kohya.safetensors"
    let run = try Binary.run(["inspect", file, "--base", "org/tiny"], environment: try cache())
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.output == (try Binary.succeed("inspect", file, "--base", base)))
  }

  @Test func choicesThatCannotBe() throws {
    func failure(_ options: String...) throws -> String {
      let run = try Binary.run(["load", "--base", base] + options)
      #expect(run.status == 1)
      return run.errors
    }
    #expect(try failure("--config", base).contains("a folder has its own configurations; --config is for a model in one file"))
    #expect(try failure("--variant", "bf16").contains("expected one of diffusion_pytorch_model.bf16.safetensors"))
    #expect(try failure("--vae", folder("nothing")).contains("nothing: no such folder"))
    let wrong = try Binary.run(["load", "--base", base, "--prediction-type", "sample"])
    #expect(wrong.status == 64)
    #expect(wrong.errors.contains("Please provide one of 'epsilon' and 'v_prediction'."))
  }

  @Test func pickledBase() throws {
    _ = try folder.emptyFile("old.ckpt")
    let run = try Binary.run(["load", "--base", folder("old.ckpt")])
    #expect(run.status == 1)
    #expect(run.errors.contains("old.ckpt: a pickle, which is a program and is not run; convert it where you trust it"))
  }

  @Test func timeOfLoading() throws {
    let output = try Binary.succeed("load", "--base", base, "--dtype", "bfloat16")
    #expect(output.hasPrefix(#"{"parameters":"#) && output.contains(#","seconds":"#))
  }
}
