import LoRA
import Merging
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

@Suite struct MergerCoefficientsTests {
  let model = ToyModel()

  @Test("the written file is ΔW_c · diag(m_c) + ΔW_s · diag(m_s) to 32-bit rounding", arguments: Dialects.written.map(\.name))
  func exactness(dialect: String) throws {
    let inputs = model.pair
    let coefficients = randomCoefficients(model)
    let folder = try TemporaryFolder()
    let path = folder("zipped.safetensors")
    try AdapterFile.write(
      coefficients.zipped(inputs), to: path, as: try #require(Dialects.named(dialect)), for: model.modules)
    let zipped = try AdapterFile.read(path, for: model.modules)
    #expect(zipped.factors.keys == model.projections.keys)
    var largest = 0.0
    for (path, factors) in zipped.factors {
      #expect(factors.rank == 5 && factors.alpha == 5, "the ranks add up, and the scale is one")
      let dense = zip(inputs, try #require(coefficients.vectors[path]).values).map { input, vector in
        denselyWeighed(input.adapter.delta(path, dtype: .float64)!, vector)
      }
      let error = difference(factors.delta(dtype: .float64), dense[0] + dense[1])
      largest = max(largest, error)
      // Each number of the file is rounded once or twice: 2⁻²⁴ each.
      #expect(error < 3e-7, "\(path)")
    }
    print("largest relative error of the written \(dialect) file: \(largest)")
  }

  @Test("coefficients (1, 0) give back the subject LoRA itself")
  func subjectAlone() throws {
    let inputs = model.pair
    var coefficients = randomCoefficients(model)
    for (path, vectors) in coefficients.vectors {
      coefficients.vectors[path] = [0: .ones(like: vectors[0]!), 1: .zeros(like: vectors[1]!)]
    }
    let zipped = coefficients.zipped(inputs)
    for (path, factors) in zipped.factors {
      #expect(factors.rank == 3)
      #expect(difference(factors.delta(), inputs[0].adapter.delta(path)!) <= 2e-7, "\(path)")
    }
  }

  @Test("a LoRA zipped with one that changes nothing is itself")
  func zeroStyle() {
    var style = model.adapter(2)
    style.factors = style.factors.mapValues {
      LowRankFactors(down: $0.down, up: .zeros(like: $0.up), alpha: $0.alpha)
    }
    let inputs = [model.pair[0], MergeInput("nothing", style)]
    var coefficients = randomCoefficients(model)
    for (path, vectors) in coefficients.vectors {
      coefficients.vectors[path] = [0: .ones(like: vectors[0]!), 1: vectors[1]!]
    }
    for (path, factors) in coefficients.zipped(inputs).factors {
      #expect(difference(factors.delta(), inputs[0].adapter.delta(path)!) <= 2e-7, "\(path)")
    }
  }

  @Test("layers of one LoRA pass unchanged; shared ones without coefficients are added up")
  func otherLayers() {
    let subject = model.adapter(1, paths: [ToyModel.query, ToyModel.key])
    let style = model.adapter(2, rank: 1, paths: [ToyModel.query, ToyModel.convolution])
    let zipped = MergerCoefficients([:]).zipped([MergeInput("c", subject), MergeInput("s", style, weight: 0.5)])
    #expect(zipped.factors.keys == [ToyModel.query, ToyModel.key, ToyModel.convolution])
    #expect(zipped.factors[ToyModel.key]!.down.isIdentical(to: subject.factors[ToyModel.key]!.down))
    #expect(difference(zipped.delta(ToyModel.convolution)!, style.delta(ToyModel.convolution)! * 0.5) <= 1e-7)
    #expect(
      difference(zipped.delta(ToyModel.query)!, subject.delta(ToyModel.query)! + style.delta(ToyModel.query)! * 0.5) <= 3e-7)
    #expect(zipped.metadata["modelspec.merged_from"] == "c, s")
  }

  @Test("strengths can be set after zipping")
  func strengths() {
    let coefficients = randomCoefficients(model)
    let parts = [[1, 0], [0, 1], [0.3, 1.7]].map { coefficients.zipped(model.pair, strengths: $0) }
    for path in model.projections.keys {
      let deltas = parts.map { $0.delta(path, dtype: .float64)! }
      #expect(difference(deltas[2], deltas[0] * 0.3 + deltas[1] * 1.7) <= 3e-7, "\(path)")
    }
  }

  @Test func writingAndReading() throws {
    let folder = try TemporaryFolder()
    var coefficients = randomCoefficients(model, adapters: 3)
    coefficients.vectors[ToyModel.key]?[1] = nil
    try coefficients.write(to: folder("c.safetensors"), names: ["a", "b \"quoted\"", "c"])
    let (found, names) = try MergerCoefficients.read(folder("c.safetensors"))
    #expect(names == ["a", "b \"quoted\"", "c"])
    #expect(Set(found.vectors.keys) == Set(coefficients.vectors.keys))
    for (path, vectors) in coefficients.vectors {
      #expect(try #require(found.vectors[path]).keys == vectors.keys)
      #expect(zip(found.vectors[path]!.values, vectors.values).allSatisfy { $0.equals($1) }, "\(path)")
    }
    try saveSafeTensors(["x": .ones([1])], to: folder("x.safetensors"))
    let error = try #require(throws: MergeError.self) { try MergerCoefficients.read(folder("x.safetensors")) }
    #expect(error.description.hasSuffix("x.safetensors: not a file of merger coefficients written by ziplora"))
  }
}
