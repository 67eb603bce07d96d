import LoRA
import Merging
import TestFiles
import TestSupport
import Testing
import Torch

@Suite("what updates bring, on the same draws before and after")
struct RefinementTests {
  let model = ToyModel()

  private func zip(_ inputs: [MergeInput], _ change: (inout ZipOptions) -> Void) throws -> (ZipLoRA, warnings: [String]) {
    var options = ZipOptions(method: .closedForm)
    options.scope = .everything
    change(&options)
    let zip = try ZipLoRA(inputs, probe: model, options: options)
    var warnings: [String] = []
    try zip.optimize {
      warnings += $0.warnings
      return true
    }
    return (zip, warnings)
  }

  @Test("coefficients that stay where they are leave the terms of the first draws, not those of the last")
  func sameDraws() throws {
    let (zip, _) = try zip(model.pair) {
      $0.learningRate = 1e-12
      $0.steps = 4
    }
    let after = try #require(zip.fidelityAfter)
    for (before, after) in Swift.zip(zip.records[0].fidelity, after) {
      #expect(abs(before - after) <= 1e-6 * before, "\(before), \(after)")
    }
    #expect(zip.records[3].fidelity != zip.records[0].fidelity)
    #expect(zip.report().fidelityAfter == after && zip.report().warnings.isEmpty)
  }

  @Test("updates of the default size leave less, and new draws in every update nothing to compare")
  func better() throws {
    let (zip, _) = try zip(model.pair) { $0.steps = 16 }
    let (before, after) = (zip.records[0].fidelity.reduce(0, +), try #require(zip.fidelityAfter).reduce(0, +))
    #expect(after < before, "\(before) → \(after)")
    #expect(zip.report().warnings.isEmpty)
    let (paper, _) = try self.zip(model.pair) { $0 = ZipOptions(steps: 2, learningRate: 0.1, scope: .everything) }
    #expect(paper.fidelityAfter == nil)
  }

  @Test("updates that are far too large do harm, and the report says so")
  func worse() throws {
    let (zip, _) = try zip(model.pair) {
      $0.steps = 3
      $0.learningRate = 3
    }
    let (before, after) = (zip.records[0].fidelity.reduce(0, +), try #require(zip.fidelityAfter).reduce(0, +))
    #expect(after > before, "\(before) → \(after)")
    let warnings = zip.report().warnings
    #expect(warnings.count == 1 && warnings[0].hasPrefix("the updates have made the differences to the LoRAs alone larger, "))
  }

  @Test("small coefficients are no collapse where the similarity is a cosine, nor small steps a standstill after the closed form")
  func noFalseAlarm() throws {
    let half = try zip(model.pair) { $0 = ZipOptions(steps: 3, learningRate: 0.1, scope: .everything, initialValue: 0.5) }
    #expect(half.0.records[2].means.allSatisfy { $0 < 0.6 } && half.warnings.isEmpty, "\(half.warnings)")
    let still = try zip(model.pair) { $0.learningRate = 1e-9 }
    #expect(still.warnings.isEmpty, "\(still.warnings)")
  }
}
