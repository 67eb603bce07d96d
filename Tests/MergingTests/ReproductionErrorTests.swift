import LoRA
import Merging
import Testing
import Torch

@Suite struct ReproductionErrorTests {
  @Test("of a LoRA that changes nothing, the error says which one it is, and is no 0/0")
  func withoutEffect() throws {
    let model = ToyModel(dtype: .float64)
    let (subject, style) = (model.pair[0].adapter, model.pair[1].adapter)
    let error = try #require(throws: MergeError.self) {
      try Reproduction(of: [subject], loras: [subject, style.scaled(by: 0)], probe: model, draws: 1)
    }
    #expect(error == .changesNothing(1))
    #expect(error.description.hasPrefix("LoRA 2 changes nothing of what the model predicts for its pictures"))
  }
}
