import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

/// The gradient with respect to the coefficients, in 64 bits.
@Suite struct GradientTests {
  let model = ToyModel(dtype: .float64)

  /// Eq 3 for coefficients, with dense weights in the place of branches.
  private func denseObjective(
    _ objective: ZipObjective, _ coefficients: MergerCoefficients, _ inputs: [MergeInput], _ draws: [ToyModel.Input]
  ) -> Tensor {
    func prediction(_ input: ToyModel.Input, _ deltas: OrderedDictionary<String, Tensor>) -> Tensor {
      let (query, key, convolution) = (model.query, model.key, model.convolution)
      let hidden = input.tokens.linear(query.weight + deltas[ToyModel.query]!, query.bias).tanh()
      let tokens = hidden.linear(key.weight + deltas[ToyModel.key]!, key.bias).flattened(from: 1)
      let picture = input.picture.conv2d(
        convolution.weight + deltas[ToyModel.convolution]!, convolution.bias, stride: 2, padding: 1)
      return Tensor.concatenated([tokens, picture.flattened(from: 1)], along: 1)
    }
    func delta(_ index: Int, _ path: String) -> Tensor { inputs[index].adapter.delta(path, dtype: .float64)! }
    var merged: OrderedDictionary<String, Tensor> = [:]
    for (path, vectors) in coefficients.vectors {
      merged[path] = denselyWeighed(delta(0, path), vectors[0]!) + denselyWeighed(delta(1, path), vectors[1]!)
    }
    var total = objective.similarity(of: coefficients) * objective.lambda
    for (index, input) in draws.enumerated() {
      let teacher = coefficients.vectors.keys.reduce(into: OrderedDictionary<String, Tensor>()) { $0[$1] = delta(index, $1) }
      total = total + objective.fidelity(of: prediction(input, merged), to: prediction(input, teacher))
    }
    return total
  }

  /// An optimisation and the inputs that its first step will draw.
  private func prepared(_ objective: ZipObjective) throws -> (zip: ZipLoRA, draws: [ToyModel.Input]) {
    let options = ZipOptions(objective: objective, scope: .everything, seed: 4)
    let generator = Generator(seed: 4)
    let draws = (0..<2).map { model.draw(of: .lora($0), generator: generator) }
    return (try ZipLoRA(model.pair, probe: model, options: options), draws)
  }

  static let objectives = ZipObjective.Fidelity.allCases.flatMap { fidelity in
    ZipObjective.Similarity.allCases.map { ZipObjective(fidelity: fidelity, similarity: $0, lambda: 0.3) }
  }

  @Test("of the low-rank form, the dense form and finite differences", arguments: objectives)
  func gradients(objective: ZipObjective) throws {
    let (zip, draws) = try prepared(objective)
    let start = zip.coefficients.vectors
    let leaves = MergerCoefficients(start.mapValues { $0.mapValues { $0.detached().cloned().requiringGrad() } })
    let dense = denseObjective(objective, leaves, model.pair, draws)
    dense.backward()
    let terms = try zip.addGradients()
    let total = terms.fidelity.reduce(0, +) + objective.lambda * terms.similarity
    #expect(abs(total - dense.item()) < 1e-12 * dense.item(), "the same objective")

    let step = 1e-5
    for (path, vectors) in leaves.vectors {
      for (index, vector) in vectors {
        let gradient = try #require(vector.grad)
        #expect(try difference(#require(start[path]?[index]?.grad), gradient) <= 1e-10, "\(path) \(index)")
        // Three columns of each vector by central differences.
        for column in [0, 1, vector.count - 1] {
          func value(_ offset: Double) -> Double {
            let moved = leaves.vectors.mapValues { $0.mapValues { $0.detached().cloned() } }
            moved[path]![index]![column].addInPlace(offset)
            return denseObjective(objective, MergerCoefficients(moved), model.pair, draws).item()
          }
          let numeric = (value(step) - value(-step)) / (2 * step)
          let analytic = gradient[column].item()
          #expect(abs(numeric - analytic) < 1e-6 * max(1, abs(analytic)), "\(path) \(index) \(column): \(numeric) \(analytic)")
        }
      }
    }
  }

  @Test("similarity terms, worked by hand")
  func similarities() {
    // Layer a: m_c = (1, 2), m_s = (3, −1): products 3, −2. Layer b: (2), (−4).
    let coefficients = MergerCoefficients([
      "a": [0: Tensor([1, 2] as [Double]), 1: Tensor([3, -1] as [Double])],
      "b": [0: Tensor([2] as [Double]), 1: Tensor([-4] as [Double])],
    ])
    func value(_ similarity: ZipObjective.Similarity) -> Double {
      ZipObjective(similarity: similarity).similarity(of: coefficients).item()
    }
    #expect(value(.dot) == 1 + 8)
    #expect(value(.meanDot) == 2.5 + 8)
    #expect(abs(value(.cosine) - (1 / 50.0.squareRoot() + 1)) < 1e-12)
    #expect(value(.none) == 0)
  }

  @Test("fidelity terms, worked by hand: a norm of each picture, a mean of squares")
  func fidelities() {
    let found = Tensor([3, 4, 0, 0] as [Double], shape: [2, 2])
    let wanted = Tensor([0, 0, 0, 2] as [Double], shape: [2, 2])
    #expect(ZipObjective(fidelity: .norm).fidelity(of: found, to: wanted).item() == 3.5)
    #expect(ZipObjective(fidelity: .squared).fidelity(of: found, to: wanted).item() == 7.25)
  }

  @Test("the cosine has no gradient where all coefficients are one, so the fidelity terms move them first")
  func cosineAtTheStart() throws {
    func pair() -> MergerCoefficients.Vectors {
      [0: Tensor.ones([5], dtype: .float64).requiringGrad(), 1: Tensor.ones([5], dtype: .float64).requiringGrad()]
    }
    let ones = MergerCoefficients(["a": pair()])
    ZipObjective(similarity: .cosine).similarity(of: ones).backward()
    for vector in ones.tensors { #expect(try #require(vector.grad).abs().max().item() < 1e-15) }
    let dots = MergerCoefficients(["a": pair()])
    ZipObjective(similarity: .dot).similarity(of: dots).backward()
    for vector in dots.tensors { #expect(vector.grad?.doubles() == [1, 1, 1, 1, 1]) }
  }
}
