import Foundation
import Merging
import OrderedCollections
import SafeTensors
import TestFiles
import Testing
import Torch
import Training
import Workflows

/// What an app gets where the command has a message: an error, never a trap, that says the same in Foundation's way.
@Suite struct DamagedStateTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("random numbers of another kind in a saved state")
  func generator() throws {
    let loras = try TrainedLoRAs.shared.get()
    let zip = ZipAdapters(
      base: BaseModel(base),
      subject: .init(lora: WeightedFile(loras.subject), images: loras.pictures, prompt: "a sbu dog"),
      style: .init(lora: WeightedFile(loras.style), images: loras.picture, prompt: "a house in szn style"),
      options: ZipOptions(steps: 4, learningRate: 0.02), output: AdapterOutput(folder("a.safetensors")))
    #expect(throws: Interrupted.self) { _ = try zip.run { $0.phase != "zipping" || $0.step < 2 } }
    let path = folder("a.state.safetensors")
    let state = try SafeTensorsCollection(path: path)
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for key in state.keys { tensors[key] = try state.tensor(key).cloned() }
    tensors["generator"] = .zeros([3], dtype: .uint8)
    try saveSafeTensors(tensors, metadata: state.file.metadata, to: path, overwrite: true)
    let error = try #require(throws: TorchError.self) { _ = try zip.run { _ in true } }
    #expect(error.localizedDescription == error.description)
    #expect(!FileManager.default.fileExists(atPath: folder("a.safetensors")))
  }

  @Test("errors say in Foundation's way what they say")
  func localized() {
    func same(_ error: some Error & CustomStringConvertible) -> Bool { error.localizedDescription == error.description }
    #expect(same(SettingError("--steps 0: expected 1 or more")))
    #expect(same(MergeError.tooFew(1)))
    #expect(same(StateError(path: "a", reason: "it is another")))
    #expect(same(Interrupted(phase: "zipping", step: 3, state: nil)))
  }
}
