import Foundation
import TestFiles
import TestSupport
import Testing
import Torch

/// A file that `ziplora zip` wrote, with diffusers' prediction for it (Scripts/check_consumers.py).
@Suite struct MergedGoldenTests {
  @Test(arguments: ["kohya", "diffusers"])
  func predictionIsThatOfDiffusers(_ dialect: String) throws {
    let folder = try TemporaryFolder()
    let lora = "\(goldens)/merged/\(dialect).safetensors"
    try Binary.succeed(
      "predict", "--base", base, "--lora", lora, "--prompt", "a sbu dog in szn style", "--seed", "5", "--output",
      folder("found.safetensors"))
    let found = try SafeTensorsCollection(path: folder("found.safetensors"))
    let expected = try SafeTensorsCollection(path: "\(goldens)/merged/expected.safetensors")
    #expect(Set(found.keys) == Set(expected.keys))
    for key in expected.keys where key.hasPrefix("input.") {
      #expect(try (found.tensor(key) .== expected.tensor(key)).allHold(), "\(key)")
    }
    let error = try difference(found.tensor("output.sample"), expected.tensor("output.sample"))
    #expect(error < 5e-6, "\(error)")
  }
}
