import LoRA
import Merging
import OrderedCollections
import SafeTensors
import TestFiles
import Testing
import Torch

/// Why the saved state of a zip is refused.
@Suite struct ZipStateTests {
  private let model = ToyModel(dtype: .float64)

  @Test("every option that differs is named as ziplora zip calls it")
  func differences() throws {
    let folder = try TemporaryFolder()
    let path = folder("state.safetensors")
    var options = ZipOptions(steps: 3, scope: .everything, draws: 2)
    try ZipLoRA(model.pair, probe: model, options: options).saveState(to: path)
    options.objective = ZipObjective(fidelity: .squared, similarity: .dot, lambda: 1)
    (options.draws, options.patience, options.seed, options.initialValue) = (nil, 2, 9, 0.5)
    let error = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: options)
    }
    #expect(throws: StateError.self) { try ZipLoRA.checkState(at: path, model.pair, options: options) }
    let made = "the state was made with"
    let differences = [
      "--draws is 0, \(made) 2", "--start is 0.5, \(made) 1.0", "--lambda is 1.0, \(made) 0.01",
      "--fidelity is squared, \(made) norm", "--similarity is dot, \(made) cosine", "--patience is 2, \(made) none",
      "--seed is 9, \(made) 0",
    ]
    #expect(error.reason == differences.joined(separator: "; "))
    #expect(error.remedy == .formerSettings)
    options = ZipOptions(method: .closedForm)
    options.scope = .everything
    let method = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: options)
    }
    let first = ["--method is closed-form (passes 1, pull 0.01), \(made) paper or joint", "--optimizer is sign, \(made) adam"]
    #expect(method.description.contains((first + ["--learning-rate is 0.1"]).joined(separator: "; ")), "\(method)")
  }

  @Test("a state without a setting that there is now is of another version, and may be deleted")
  func otherVersion() throws {
    let folder = try TemporaryFolder()
    let path = folder("state.safetensors")
    let options = ZipOptions(steps: 3, scope: .everything)
    try ZipLoRA(model.pair, probe: model, options: options).saveState(to: path)
    var metadata = try SafeTensorsCollection(path: path).file.metadata
    let state = try #require(metadata["state"])
    metadata["state"] = state.replacing(#""optimizer":"adam","#, with: "")
    #expect(metadata["state"] != state)
    try saveSafeTensors(["x": .ones([1])], metadata: metadata, to: path, overwrite: true)
    let error = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: options)
    }
    #expect(
      error.reason == "another version of ziplora has saved it, or it is damaged" && error.remedy == .formerSettings, "\(error)")
  }

  @Test("a file that is no state is not to be deleted")
  func stranger() throws {
    let folder = try TemporaryFolder()
    let path = folder("dog.safetensors")
    try saveSafeTensors(["x": .ones([1])], to: path, overwrite: false)
    let error = try #require(throws: StateError.self) { try ZipLoRA(resuming: path, model.pair, probe: model) }
    #expect(
      error.description
        == "\(path) cannot be continued: it is not the saved state of a zip run. Choose another file for the state with --state")
  }

  @Test("a coefficient that is no number after the last update ends the run, which names the learning rate")
  func diverged() throws {
    let options = ZipOptions(steps: 1, learningRate: 1e300, scope: .everything)
    let zip = try ZipLoRA(model.pair, probe: model, options: options)
    let error = try #require(throws: MergeError.self) { try zip.optimize() }
    #expect(error == .notFinite(step: 1, learningRate: 1e300))
    #expect(
      error.description.contains("with learning rate 1e+300; lower the learning rate, or a λ that is large, or check the LoRAs"))
  }

  @Test func startsBeyondAllSense() {
    let error = #expect(throws: MergeError.self) { try ZipOptions(initialValue: 1e300).validate() }
    #expect(error?.description == "start 1e+300: expected a number from -1000 to 1000")
    #expect(throws: MergeError.option("start", found: "nan", expected: "a number from -1000 to 1000")) {
      try ZipOptions(initialValue: .nan).validate()
    }
    #expect(throws: Never.self) { try ZipOptions(initialValue: -0.5).validate() }
  }
}
