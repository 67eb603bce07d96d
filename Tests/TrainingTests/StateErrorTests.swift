import Foundation
import Merging
import OrderedCollections
import SafeTensors
import TestFiles
import Testing
import Torch
import Training

/// Why a saved state is refused: it names what differs, and nobody is told to delete what is no state.
@Suite struct StateErrorTests {
  private let folder: TemporaryFolder
  private var file: String { folder("a.safetensors") }

  init() throws { folder = try TemporaryFolder() }

  private func loop(
    _ options: TrainingLoop.Options, _ settings: OrderedDictionary<String, String> = [:], phase: String = "fitting"
  ) throws {
    let parameter = Tensor([0.0] as [Float])
    try TrainingLoop(phase: phase, parameters: ["x": parameter], options: options, settings: settings)
      .run(state: file, progress: { _ in true }) { (parameter - 1).square().sum() }
  }

  private func options(_ shape: LearningRate.Shape = .constant, steps: Int = 2, seed: UInt64 = 1) -> TrainingLoop.Options {
    .init(steps: steps, learningRate: LearningRate(peak: 0.1, shape: shape), seed: seed)
  }

  @Test("all settings that differ are named, each once and as its user set it")
  func differences() throws {
    try loop(options(.cosine), ["--rank": "4", "--batch": "1", "--seed": "0"])
    let error = #expect(throws: StateError.self) {
      try loop(options(.cosine, steps: 3, seed: 10), ["--rank": "8", "--batch": "1", "--seed": "9"])
    }
    #expect(
      error?.reason == """
        --rank is 8, the state was made with 4; --seed is 9, the state was made with 0; --steps is 3, the state was made with 2
        """)
    #expect(error?.remedy == .formerSettings)
  }

  @Test("a LoRA, or the state of other work, is not to be deleted")
  func strangers() throws {
    try saveSafeTensors(["lora.down": .ones([1])], metadata: ["ss_network_dim": "4"], to: file, overwrite: false)
    let lora = #expect(throws: StateError.self) { try loop(options()) }
    #expect(
      lora?.description == """
        \(file) cannot be continued: it is no saved state; expected one of "fitting". Choose another file for the state with --state
        """)
    #expect(lora?.remedy == .anotherFile)

    try saveSafeTensors(["x": .ones([1])], metadata: ["phase": "knitting", "step": "3"], to: file, overwrite: true)
    let other = #expect(throws: StateError.self) { try loop(options()) }
    #expect(other?.reason == "it is the saved state of \"knitting\"; expected one of \"fitting\"")
    #expect(other?.description.contains("delete") == false)
  }

  @Test("a damaged state is no bug of the program")
  func damaged() throws {
    try loop(options())
    let whole = try SafeTensorsCollection(path: file)
    var tensors = try whole.keys.reduce(into: OrderedDictionary<String, Tensor>()) { $0[$1] = try whole.tensor($1).cloned() }
    var metadata = whole.file.metadata
    tensors["steps/x"] = .ones([2])
    try saveSafeTensors(tensors, metadata: metadata, to: file, overwrite: true)
    let shape = #expect(throws: StateError.self) { try loop(options()) }
    #expect(shape?.reason == "steps/x is [2], not []")
    metadata["step"] = "-1"
    try saveSafeTensors(tensors, metadata: metadata, to: file, overwrite: true)
    let error = #expect(throws: StateError.self) { try loop(options()) }
    #expect(error?.reason == "it is at step -1, which is none")
    try Data("x".utf8).write(to: URL(filePath: file))
    let cut = #expect(throws: StateError.self) { try loop(options()) }
    #expect(cut?.remedy == .deletion && cut?.description.hasPrefix("\(file) cannot be continued: holds 1 bytes") == true)
  }

  @Test("a state that another version wrote is told from a mistake")
  func unreadable() throws {
    try saveSafeTensors(
      ["x": .ones([1])], metadata: ["phase": "fitting", "step": "1", "options": "?"], to: file, overwrite: false)
    let error = #expect(throws: StateError.self) { try loop(options()) }
    #expect(error?.reason == "its settings cannot be read; another version of ziplora may have written it")
  }
}
