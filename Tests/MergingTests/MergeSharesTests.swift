import Foundation
import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

/// Weighing a merged LoRA anew with nothing but its own metadata.
@Suite struct MergeSharesTests {
  let model = ToyModel()

  /// A zip with a shared layer, one that is added up and one of each LoRA alone, of equal ranks.
  private var inputs: [MergeInput] {
    [
      MergeInput("subject", model.adapter(1, paths: [ToyModel.query, ToyModel.key]), weight: 0.8),
      MergeInput("style", model.adapter(2, paths: [ToyModel.query, ToyModel.convolution])),
    ]
  }

  private var coefficients: MergerCoefficients {
    MergerCoefficients(randomCoefficients(model).vectors.filter { $0.key == ToyModel.query })
  }

  private func zipped(_ weights: [Double]) -> Adapter {
    coefficients.zipped(zip(inputs, weights).map { MergeInput($0.name, $0.adapter, weight: $1) })
  }

  private func check(_ found: Adapter, _ expected: Adapter, sourceLocation: SourceLocation = #_sourceLocation) {
    for (path, factors) in expected.factors where factors.norm > 0 {
      #expect(
        difference(found.delta(path, dtype: .float64) ?? Tensor(0), factors.delta(dtype: .float64)) <= 3e-7, "\(path)",
        sourceLocation: sourceLocation)
    }
    #expect(found.factors.keys.allSatisfy { expected.factors[$0] != nil }, sourceLocation: sourceLocation)
  }

  @Test("weights set afterwards are weights set before", arguments: [[0.3, 1.5], [-1, 1], [1, 1]])
  func weights(weights: [Double]) throws {
    let zip = coefficients.zipped(inputs)
    check(try zip.reweighted(weights), zipped(weights))
    // Again, and back.
    check(try zip.reweighted(weights).reweighted([0.8, 1]), zip)
    let shares = try MergeShares(metadata: zip.reweighted(weights).metadata)
    #expect(shares.inputs.map(\.name) == ["subject", "style"] && shares.inputs.map(\.weight) == weights)
  }

  @Test("one weight alone leaves the others")
  func oneWeight() throws {
    check(try coefficients.zipped(inputs).reweighted([nil, 0.25]), zipped([0.8, 0.25]))
  }

  @Test("weight 0 takes a LoRA out, with its layers, and leaves the other's rank")
  func out() throws {
    let alone = try coefficients.zipped(inputs).reweighted([nil, 0])
    check(alone, zipped([0.8, 0]))
    #expect(alone.factors.keys == [ToyModel.query, ToyModel.key])
    #expect(alone.factors[ToyModel.query]!.rank == 3)
    // What is left can still be weighed, what is gone not brought back.
    check(try alone.reweighted([0.4, nil]), zipped([0.4, 0]))
    let gone = try #require(throws: MergeError.self) { try alone.reweighted([nil, 1]) }
    #expect(gone.description.hasPrefix("style has weight 0 in this file, so nothing of it is left to make stronger"))
    let nothing = try #require(throws: MergeError.self) { try alone.reweighted([0, nil]) }
    #expect(nothing.description.contains("leaves nothing of these LoRAs"))
  }

  @Test("three LoRAs, and a direct merge")
  func three() throws {
    let inputs = (1...3).map { MergeInput("\($0)", model.adapter(UInt64($0), rank: Int($0))) }
    let merged = try DirectMerge().merge(inputs, context: MergeContext()).adapter
    let weighed = zip(inputs, [1, 0.5, 2]).map { MergeInput($0.name, $0.adapter, weight: $1) }
    check(try merged.reweighted([nil, 0.5, 2]), try DirectMerge().merge(weighed, context: MergeContext()).adapter)
    let error = try #require(throws: MergeError.self) { try merged.reweighted([1]) }
    #expect(error.description == "1 weights for 3 LoRAs (1, 2, 3)")
  }

  @Test("metadata lists only layers that are not divided as most are, and is the same text for the same shares")
  func text() throws {
    let shares = try MergeShares(metadata: coefficients.zipped(inputs).metadata)
    #expect(shares.ranks == [3, 3])
    #expect(shares.exceptions == [ToyModel.key: [3, 0], ToyModel.convolution: [0, 3]])
    let renamed = shares.renamed { $0 == ToyModel.key ? "k" : nil }
    #expect(
      renamed.text
        == #"{"exceptions":{"k":[3,0],"\#(ToyModel.convolution)":[0,3]},"inputs":[{"name":"subject","weight":0.8},"#
        + #"{"name":"style","weight":1}],"ranks":[3,3]}"#)
  }

  @Test("files that do not say it, and files that were changed since, are refused")
  func refused() throws {
    func message(_ change: (inout Adapter) -> Void) throws -> String {
      var adapter = coefficients.zipped(inputs)
      change(&adapter)
      return try #require(throws: MergeError.self) { try adapter.reweighted([1, 1]) }.description
    }
    let silent = "does not say which ranks are whose; only files that ziplora zip or ziplora merge --method direct wrote"
    for text in [nil, "", "{}", #"{"inputs":[],"ranks":[],"exceptions":{}}"#] {
      #expect(try message { $0.metadata[MergeShares.metadataKey] = text }.contains(silent))
    }
    for ranks in ["[3,-3]", "[9223372036854775807,9223372036854775807]"] {
      let wrong = #"{"exceptions":{},"inputs":[{"name":"a","weight":1},{"name":"b","weight":1}],"ranks":\#(ranks)}"#
      #expect(try message { $0.metadata[MergeShares.metadataKey] = wrong }.contains(silent))
    }
    #expect(
      try message { $0.factors[ToyModel.query] = model.adapter(1, rank: 4).factors[ToyModel.query] }
        == "\(ToyModel.query): has rank 4, but its metadata says 3 of subject and 3 of style; the file was changed after merging")
    #expect(
      try message { $0.factors[ToyModel.key] = nil }
        == "\(ToyModel.key): its metadata names a layer that is not there; another program or conversion has renamed or "
        + "removed it")
  }
}
