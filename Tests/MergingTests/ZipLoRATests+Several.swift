import LoRA
import Merging
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// More LoRAs than two.
extension ZipLoRATests {
  @Test("three LoRAs at once")
  func three() throws {
    let inputs = model.pair + [MergeInput("third", model.adapter(5, rank: 1))]
    let zip = try ZipLoRA(inputs, probe: model, options: options(steps: 40))
    try zip.optimize()
    #expect(zip.records[39].objective < 0.8 * zip.records[0].objective)
    #expect(zip.zipped().factors[ToyModel.query]?.rank == 6)
    #expect(zip.records[0].means.count == 3)
  }

  @Test("a layer is zipped for those of the LoRAs that change it", arguments: [nil, ClosedForm(passes: 2)])
  func threeOfDifferentLayers(closedForm: ClosedForm?) throws {
    let inputs = [
      MergeInput("a", model.adapter(1, paths: [ToyModel.query, ToyModel.key]), weight: 0.7),
      MergeInput("b", model.adapter(2, rank: 2, paths: [ToyModel.query, ToyModel.convolution])),
      MergeInput("c", model.adapter(5, rank: 1, paths: [ToyModel.key, ToyModel.convolution])),
    ]
    var asked = options(steps: 12)
    asked.closedForm = closedForm
    asked.draws = closedForm == nil ? nil : 4
    let zip = try ZipLoRA(inputs, probe: model, options: asked)
    try zip.optimize()
    let owners: OrderedDictionary = [ToyModel.query: [0, 1], ToyModel.key: [0, 2], ToyModel.convolution: [1, 2]]
    #expect(zip.plan.zipped.count == 3 && zip.plan.summed.isEmpty && zip.plan.alone.isEmpty)
    let zipped = zip.zipped()
    for (path, indices) in owners {
      let vectors = try #require(zip.coefficients.vectors[path])
      #expect(Array(vectors.keys) == indices)
      #expect(vectors.values.allSatisfy { !$0.detached().equals(.ones(like: $0).detached()) })
      let dense = vectors.map { denselyWeighed(inputs[$0].weighted.delta(path)!, $1.detached()) }
      #expect(difference(zipped.delta(path)!, dense[0] + dense[1]) <= 5e-7, "\(path)")
    }
    #expect(zip.report().layers.map(\.inputs) == owners.values.map { $0.map { inputs[$0].name } })

    let folder = try TemporaryFolder()
    let half = try ZipLoRA(inputs, probe: model, options: asked)
    for _ in 0..<5 { try half.step() }
    try half.saveState(to: folder("state.safetensors"))
    let resumed = try ZipLoRA(resuming: folder("state.safetensors"), inputs, probe: model, options: asked)
    try resumed.optimize()
    #expect(Swift.zip(resumed.coefficients.tensors, zip.coefficients.tensors).allSatisfy { $0.equals($1) })
  }
}
