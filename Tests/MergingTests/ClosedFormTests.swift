import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

@Suite struct ClosedFormTests {
  let generator = Generator(seed: 21)

  private func factors(_ inputs: Int, _ outputs: Int, rank: Int, alpha: Double) -> LowRankFactors {
    LowRankFactors(
      down: Tensor.randn([rank, inputs], generator: generator, dtype: .float64),
      up: Tensor.randn([outputs, rank], generator: generator, dtype: .float64), alpha: alpha)
  }

  @Test(
    "is the least-squares solution: it equals a dense solve on the very samples, also of LoRAs that leave the layer as it is",
    arguments: [(2, 0), (3, 0), (2, 1)])
  func bruteForce(adapters: Int, strangers: Int) {
    let (inputs, outputs, samples) = (5, 7, 40)
    let layers = (0..<adapters).map { factors(inputs, outputs, rank: 2 + $0 % 2, alpha: Double($0 + 1)) }
    let data = (0..<(adapters + strangers)).map { _ in
      Tensor.randn([samples, inputs], generator: generator, dtype: .float64)
    }
    let moments = data.map { SecondMoment.matrix($0.transposed().matmul($0) / Double(samples)) }
    let found = ClosedForm.solve(layers, moments: moments, pull: 0, iterations: 500)

    // Each sample x of LoRA t gives `outputs` equations: Σ_k Σ_j ΔW_k[:, j] x_j m_kj = ΔW_t x. Normal equations of all.
    let deltas = layers.map { $0.delta(dtype: .float64) }
    var rows: [Tensor] = []
    var targets: [Tensor] = []
    for (t, x) in data.enumerated() {
      for sample in 0..<samples {
        rows.append(Tensor.concatenated(deltas.map { $0 * x[sample] }, along: 1))
        targets.append(t < adapters ? deltas[t].matmul(x[sample]) : Tensor.zeros([outputs], dtype: .float64))
      }
    }
    let matrix = Tensor.concatenated(rows)
    let lower = matrix.transposed().matmul(matrix).cholesky()
    let right = matrix.transposed().matmul(Tensor.concatenated(targets)).unsqueezed(1)
    let dense = lower.transposed().solveTriangular(lower.solveTriangular(right, upper: false), upper: true)
    #expect(difference(Tensor.concatenated(found), dense.squeezed(1)) <= 1e-6)
  }

  @Test(
    "few inputs give, without H, what their second moments give with it, also of LoRAs that leave the layer as it is",
    arguments: [(2, 0, 7), (3, 1, 4), (1, 1, 20)])
  func fewInputs(adapters: Int, strangers: Int, samples: Int) {
    let layers = (0..<adapters).map { factors(90, 40, rank: 2 + $0 % 2, alpha: Double($0 + 1)) }
    let rows = (0..<(adapters + strangers)).map { _ in Tensor.randn([samples, 90], generator: generator, dtype: .float64) }
    let few = ClosedForm.solve(layers, moments: rows.map(SecondMoment.rows), pull: 0.01)
    let matrices = ClosedForm.solve(layers, moments: rows.map { .matrix($0.transposed().matmul($0)) }, pull: 0.01)
    for (few, matrix) in zip(few, matrices) {
      #expect(difference(few, matrix) <= 1e-9)
      #expect(difference(matrix, .ones(like: matrix)) > 1e-2)
    }
  }

  @Test("a strong pull gives direct merge; unused columns stay at one")
  func pull() {
    let layers = [factors(4, 6, rank: 2, alpha: 1), factors(4, 6, rank: 2, alpha: 1)]
    let x = Tensor.randn([30, 4], generator: generator, dtype: .float64)
    let moment = SecondMoment.matrix(x.transposed().matmul(x))
    for vector in ClosedForm.solve(layers, moments: [moment, moment], pull: 1e9) {
      #expect(difference(vector, .ones(like: vector)) <= 1e-6)
    }
    let mask = Tensor([1, 0, 1, 1] as [Double])
    let holes = layers.map { LowRankFactors(down: $0.down * mask, up: $0.up, alpha: $0.alpha) }
    for vector in ClosedForm.solve(holes, moments: [moment, moment], pull: 0) {
      #expect(abs(vector[1].item() - 1) < 1e-9)
    }
  }

  @Test("starts an optimisation below direct merge, and convolutions at one", arguments: [1, 2])
  func start(passes: Int) throws {
    let model = ToyModel()
    func first(_ closedForm: ClosedForm?) throws -> ZipLoRA {
      let options = ZipOptions(
        objective: .init(similarity: .none), steps: 10, scope: .everything, closedForm: closedForm, draws: 8, seed: 3)
      let zip = try ZipLoRA(model.pair, probe: model, options: options)
      try zip.optimize()
      return zip
    }
    let (solved, ones) = (try first(ClosedForm(passes: passes)), try first(nil))
    let sums = [solved, ones].map { $0.records.reduce(0) { $0 + $1.objective } }
    #expect(sums[0] < 0.9 * sums[1], "\(sums)")
    #expect(solved.records[0].farthest < 0.02, "measured from where it began")
    let untouched = try ZipLoRA(
      model.pair, probe: model,
      options: ZipOptions(steps: 0, scope: .everything, closedForm: ClosedForm(passes: passes), draws: 8))
    #expect(try untouched.optimize() == .finished)
    let vectors = untouched.coefficients.vectors
    #expect(vectors[ToyModel.convolution]!.values.allSatisfy { $0.detached().equals(.ones(like: $0).detached()) })
    #expect(vectors[ToyModel.query]!.values.allSatisfy { !$0.detached().equals(.ones(like: $0).detached()) })
  }

  @Test("the search by conjugate gradients ends where a direct solve does, on a layer about as wide as SDXL's")
  func wide() {
    let layers = (0..<2).map { _ in
      let (down, up) = (Tensor.randn([64, 800], generator: generator), Tensor.randn([800, 64], generator: generator))
      return LowRankFactors(down: down, up: up * 0.1, alpha: 64)
    }
    // Inputs with a few strong directions, as those of attention are.
    let samples = layers.map { _ in
      let strong = Tensor.randn([1000, 4], generator: generator).matmul(Tensor.randn([4, 800], generator: generator))
      let x = strong + Tensor.randn([1000, 800], generator: generator) * 0.3
      return x.transposed().matmul(x) / 1000
    }
    let moments = samples.map(SecondMoment.matrix)
    let precise = samples.map { SecondMoment.matrix($0.to(dtype: .float64)) }
    let exact = ClosedForm.solve(layers, moments: precise, pull: 0.01, iterations: 500)
    let found = ClosedForm.solve(layers, moments: moments, pull: 0.01, iterations: 500)
    for (found, exact) in zip(found, exact) {
      #expect(found.dtype == .float32 && difference(found.to(dtype: .float64), exact) <= 2e-3)
    }
    let first = ClosedForm.solve(layers, moments: precise, pull: 0.01)
    let left = zip(first, exact).map { difference($0, $1) }
    #expect(left.allSatisfy { $0 <= 0.1 }, "what twenty products leave: \(left)")
  }

  @Test("the model is run once for each draw, pass and LoRA, and left as it was")
  func cost() throws {
    let model = ToyModel()
    let zip = try ZipLoRA(model.pair, probe: model, options: ZipOptions(closedForm: ClosedForm(passes: 2), draws: 3))
    var heard: [Int] = []
    let isDone = try zip.prepare { done, total in
      heard.append(total == 3 * 2 * 2 ? done : 0)
      return true
    }
    #expect(isDone)
    #expect(model.predictions == 3 * 2 * 2 && heard == Array(1...12))
    try zip.prepare()
    #expect(model.predictions == 12, "once is enough")
    #expect(model.projections.values.allSatisfy { $0.branches.isEmpty })
  }

  @Test("stops when asked, and can begin again")
  func stopped() throws {
    let model = ToyModel()
    let options = ZipOptions(steps: 3, closedForm: ClosedForm(), draws: 4)
    let zip = try ZipLoRA(model.pair, probe: model, options: options)
    #expect(try !zip.prepare { done, _ in done < 5 })
    #expect(zip.records.isEmpty && zip.coefficients.tensors.allSatisfy { $0.detached().equals(.ones(like: $0).detached()) })
    try zip.optimize()
    let whole = try ZipLoRA(model.pair, probe: model, options: options)
    try whole.optimize()
    #expect(Swift.zip(zip.coefficients.tensors, whole.coefficients.tensors).allSatisfy { $0.equals($1) })
  }
}

/// Two layers that read the very same tensor, of more rows than are kept.
private final class SharedInputModel: FidelityProbe {
  static let paths = ["to_q", "to_k"].map { "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.\($0)" }
  static let (rows, width) = (5000, 6)

  private let store = WeightStore(.random(Generator(seed: 31)))
  private let layers: [Linear]

  init() {
    let root = store.root
    layers = Self.paths.map { Linear(root / $0, Self.width, 4) }
  }

  var projections: Projections { store.projections }

  func draw(of term: FidelityTerm, generator: Generator) -> Tensor {
    Tensor.randn([1, Self.rows, Self.width], generator: generator) + (term == .lora(1) ? 1 : 0)
  }

  func prediction(of input: Tensor) -> Tensor { layers[0](input) * layers[1](input) }

  func adapter(_ seed: UInt64) -> Adapter {
    let generator = Generator(seed: seed)
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    for path in Self.paths {
      factors[path] = LowRankFactors(
        down: Tensor.randn([2, Self.width], generator: generator), up: Tensor.randn([4, 2], generator: generator), alpha: 2)
    }
    return Adapter(factors: factors)
  }
}

/// One layer that reads texts of three words.
private struct TextModel: FidelityProbe {
  static let path = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
  static let width = 64

  /// Which text each draw of a LoRA has.
  let texts: [Int]
  let processes: ProcessGroup
  private let store: WeightStore
  private let layer: Linear

  init(texts: [Int], processes: ProcessGroup = ProcessGroup()) {
    self.texts = texts
    self.processes = processes
    store = WeightStore(.random(Generator(seed: 32)))
    layer = Linear(store.root / Self.path, Self.width, 9)
  }

  var projections: Projections { store.projections }

  func draw(of term: FidelityTerm, generator: Generator) -> Tensor { preconditionFailure("all at once") }

  func draws(_ count: Int, of term: FidelityTerm, generator: Generator) -> [Tensor] {
    texts.map { Tensor.randn([1, 3, Self.width], generator: Generator(seed: UInt64(term == .lora(1) ? $0 + 100 : $0))) }
  }

  func prediction(of input: Tensor) -> Tensor { layer(input) }

  func adapter(_ seed: UInt64) -> Adapter {
    let generator = Generator(seed: seed)
    let factors = LowRankFactors(
      down: Tensor.randn([2, Self.width], generator: generator), up: Tensor.randn([9, 2], generator: generator), alpha: 2)
    return Adapter(factors: [Self.path: factors])
  }

  var adapters: [MergeInput] { [MergeInput("a", adapter(1)), MergeInput("b", adapter(2))] }

  /// Of the closed form.
  func coefficients() throws -> [Double] {
    let zip = try ZipLoRA(
      adapters, probe: self, options: ZipOptions(steps: 0, closedForm: ClosedForm(), draws: texts.count))
    try zip.prepare()
    return zip.coefficients.vectors[Self.path]!.values.flatMap { $0.detached().doubles() }
  }
}

extension ClosedFormTests {
  @Test(
    "inputs that are the same in all passes are kept once, and count as often as they come where another one follows",
    arguments: [[1, 1, 1, 1], [1, 1, 1, 2], [1, 2, 1, 1]])
  func sameInputs(texts: [Int]) throws {
    let found = Tensor(try TextModel(texts: texts).coefficients().map(Float.init))
    let error = difference(found, textSolution(texts))
    #expect(error <= 2e-4, "\(error)")
    let once = OrderedSet(texts)
    if once.count > 1 { #expect(difference(found, textSolution(Array(once))) > 1e-2, "each as often as the others") }
  }

  @Test("of several processes one may have the same inputs in all passes, and others not")
  func sameInputsInOneProcess() throws {
    let texts = [[1, 1, 1], [1, 2, 3]]
    let found = try inGroup(of: 2) { try TextModel(texts: texts[$0.rank], processes: $0).coefficients() }
    let expected = textSolution(texts.flatMap { $0 })
    for found in found {
      let found = Tensor(found.map(Float.init))
      let error = difference(found, expected)
      #expect(error <= 1e-3, "\(error)")
      #expect(difference(found, textSolution([1, 1, 2, 3])) > 1e-2, "as if the one kept them once")
    }
  }

  /// The solution for these texts, each as often as it is there.
  private func textSolution(_ texts: [Int]) -> Tensor {
    let model = TextModel(texts: texts)
    let moments = (0..<2).map { lora in
      let read = Tensor.concatenated(model.draws(0, of: .lora(lora), generator: generator)).flattened(to: 1)
      return SecondMoment.matrix(read.transposed().matmul(read) / Double(read.dim(0)))
    }
    let factors = model.adapters.map { $0.adapter.factors[TextModel.path]! }
    return .concatenated(ClosedForm.solve(factors, moments: moments, pull: 0.01))
  }

  @Test("rows that are kept lie in every column of a picture, and are the same when a batch is split", arguments: [2, 16, 64])
  func spreadRows(distance: Int) {
    let (width, passes) = (64, 8)
    var columns = Array(repeating: 0, count: width)
    for call in 0..<passes {
      let places = InputRecorder.spreadRows(of: width * width, distance: distance, call: call)
      #expect(places.map { $0 / distance } == Array(0..<(width * width / distance)), "one of each so many")
      for place in places { columns[place % width] += 1 }
      let halves = (0..<2).flatMap { process in
        InputRecorder.spreadRows(of: width * width / 2, distance: distance, process: process, call: call)
          .map { $0 + process * width * width / 2 }
      }
      #expect(halves == places)
    }
    #expect(columns.allSatisfy { $0 == passes * width / distance }, "\(columns)")
    #expect(InputRecorder.spreadRows(of: 70, distance: 64, call: 9).allSatisfy { $0 < 70 }, "in the rest, too")
    #expect(InputRecorder.spreadRows(of: 5, distance: 1, call: 3) == Array(0..<5))
  }

  @Test("layers that read one tensor share its rows, of which evenly spread ones are enough")
  func sharedAndThinnedRows() throws {
    let model = SharedInputModel()
    let inputs = [MergeInput("a", model.adapter(1)), MergeInput("b", model.adapter(2))]
    let options = ZipOptions(steps: 0, closedForm: ClosedForm(), draws: 1, seed: 9)
    let zip = try ZipLoRA(inputs, probe: model, options: options)
    try zip.prepare()

    let generator = Generator(seed: options.seed)
    let drawn = (0..<2).map { model.draw(of: .lora($0), generator: generator)[0] }
    func moments(distance: Int) -> [SecondMoment] {
      drawn.map { rows in
        let kept = rows.gathered(InputRecorder.spreadRows(of: rows.dim(0), distance: distance))
        return .matrix(kept.transposed().matmul(kept) / Double(kept.dim(0)))
      }
    }
    for path in SharedInputModel.paths {
      let found = zip.coefficients.vectors[path]!.values.map { $0.detached() }
      let factors = inputs.map { $0.adapter.factors[path]! }
      // 2048 rows are wanted, so that one of two is kept of 5000.
      let thinned = ClosedForm.solve(factors, moments: moments(distance: 2), pull: 0.01)
      let whole = ClosedForm.solve(factors, moments: moments(distance: 1), pull: 0.01)
      for (found, (thinned, whole)) in Swift.zip(found, Swift.zip(thinned, whole)) {
        let (error, loss) = (difference(found, thinned), difference(found, whole))
        #expect(error <= 1e-5, "\(path): \(error)")
        #expect(0 < loss && loss <= 0.1, "\(path): the rows left out make \(loss)")
      }
    }
  }
}
