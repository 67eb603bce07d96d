public import LoRA
internal import OrderedCollections
public import Torch

/// A start for the coefficients that needs no gradient: least squares, layer by layer.
///
/// Each layer is asked to add on the subject's inputs what the subject LoRA adds there, and on the style's inputs what the
/// style LoRA adds there:
///
///     min  Σ_t E_{x~t} ‖(ΔW_m − ΔW_t) x‖²
///
/// ‖ΔW diag(u) x‖² is on average uᵀ (G ∘ S) u with G = ΔWᵀΔW and S = E[x xᵀ], so with m = [m_c; m_s] this is the quadratic
/// problem H m = b,
///
///     H_ab = G_ab ∘ Σ_t S_t        b_a = Σ_t (G_at ∘ S_t) · 1        G_ab = ΔW_aᵀ ΔW_b = s_a s_b A_aᵀ (B_aᵀ B_b) A_b
///
/// pulled towards ones by ρ: (H + ρ diag H) m = b + ρ diag H · 1. The inputs' second moments S_t are those of
/// the passes in which each LoRA alone is asked (`ZipLoRA.prepare`); of a second pass, those of the merged model. Convolutions
/// larger than 1×1 start at one.
public struct ClosedForm: Codable, Sendable, Equatable {
  /// 1: inputs as each LoRA alone produces them. More: then as the merged model produces them.
  public var passes: Int
  /// ρ.
  public var pull: Double

  public init(passes: Int = 1, pull: Double = 0.01) {
    self.passes = passes
    self.pull = pull
  }

  /// The least-squares coefficients of one layer, by conjugate gradients: with the pull twenty products with H are enough,
  /// which take less than a Cholesky factor.
  ///
  /// - Parameters:
  ///   - factors: of each LoRA, for a linear layer or a 1×1 convolution.
  ///   - moments: S_t [in, in] of the inputs that each LoRA goes with; their type is computed in.
  ///   - pull: ρ.
  ///   - iterations: products with H. As many in every run, so that a last bit never decides about one more.
  /// - Returns: one vector [in] a LoRA.
  public static func solve(
    _ factors: [LowRankFactors], moments: [Tensor], pull: Double, iterations: Int = 20
  ) -> [Tensor] {
    let dtype = moments[0].dtype
    let downs = factors.map { $0.downMatrix.to(dtype: dtype) * $0.scale }
    let ups = factors.map { $0.upMatrix.to(dtype: dtype) }
    let total = moments.dropFirst().reduce(moments[0], +)
    // What is searched is the way from ones: H (m − 1) = b − H·1, with b_a − (H·1)_a = −Σ_t (G_at ∘ (ΣS − S_t)) · 1.
    let others = moments.map { total - $0 }
    let right = factors.map { _ in Tensor.zeros(like: total[0]) }
    // H_ab for a ≤ b; the rest is its transpose.
    var blocks: [(a: Int, b: Int, block: Tensor)] = []
    for a in factors.indices {
      for b in factors.indices.dropFirst(a) {
        let gram = downs[a].transposed().matmul(ups[a].transposed().matmul(ups[b])).matmul(downs[b])
        right[a].addInPlace((gram * others[b]).sum([1]), scale: -1)
        if a < b { right[b].addInPlace((gram * others[a]).sum([0]), scale: -1) }
        gram.multiplyInPlace(total)
        blocks.append((a, b, gram))
      }
    }
    let diagonals = blocks.filter { $0.a == $0.b }.map { $0.block.diagonal() }
    // A column that neither LoRA uses has a row of zeros: a trace of the pull keeps H solvable and the coefficient at one.
    let floor = Swift.max(diagonals.map { $0.mean().item() }.reduce(0, +) * 1e-9, 1e-30)
    let pulled = diagonals.map { $0 * pull + floor }
    let product = { (vectors: [Tensor]) -> [Tensor] in
      let image = zip(vectors, pulled).map { $0 * $1 }
      for (a, b, block) in blocks {
        image[a].addInPlace(block.matmul(vectors[b]))
        if a < b { image[b].addInPlace(block.transposed().matmul(vectors[a])) }
      }
      return image
    }
    let preconditioner = zip(diagonals, pulled).map { $0 + $1 }
    return conjugateGradients(product, right: right, preconditioner: preconditioner, iterations: iterations).map { $0 + 1 }
  }

  /// x with product(x) = b, for a symmetric positive definite product.
  private static func conjugateGradients(
    _ product: ([Tensor]) -> [Tensor], right b: [Tensor], preconditioner: [Tensor], iterations: Int
  ) -> [Tensor] {
    func dot(_ a: [Tensor], _ b: [Tensor]) -> Double { zip(a, b).reduce(0) { $0 + ($1.0 * $1.1).sum().item() } }
    var x = b.map { Tensor.zeros(like: $0) }
    var residual = b
    var scaled = zip(residual, preconditioner).map { $0 / $1 }
    var direction = scaled
    var energy = dot(residual, scaled)
    // Beyond it there is nothing but rounding, and in the end a division of zero by zero.
    let rounding = energy * 1e-24
    for _ in 0..<iterations where energy > rounding {
      let image = product(direction)
      let step = energy / dot(direction, image)
      x = zip(x, direction).map { $0 + $1 * step }
      residual = zip(residual, image).map { $0 - $1 * step }
      scaled = zip(residual, preconditioner).map { $0 / $1 }
      let next = dot(residual, scaled)
      direction = zip(scaled, direction).map { $0 + $1 * (next / energy) }
      energy = next
    }
    return x
  }
}

/// Gathers what the closed form needs while the model runs, and solves it.
final class Calibration {
  let closedForm: ClosedForm
  private let inputs: [MergeInput]
  private let projections: Projections
  private let processes: ProcessGroup
  /// The layers that it can be solved for.
  private let paths: [String]
  private let draws: Int
  /// Of each LoRA.
  private var recorders: [InputRecorder] = []

  /// - Parameter draws: that will be recorded of each LoRA before each solution.
  init(_ closedForm: ClosedForm, _ inputs: [MergeInput], draws: Int, plan: MergePlan, probe: any FidelityProbe) {
    let projections = probe.projections
    self.closedForm = closedForm
    self.inputs = inputs
    self.draws = draws
    self.projections = projections
    processes = probe.processes
    paths = plan.zipped.filter { projections[$0]?.weight.shape.dropFirst(2).allSatisfy { $0 == 1 } ?? false }
    startRecording()
  }

  private func startRecording() { recorders = inputs.map { _ in InputRecorder(draws: draws, processes) } }

  /// Runs `body`, a pass of the model on an input of LoRA `index`.
  func recording<Result>(_ index: Int, _ body: () throws -> Result) throws -> Result {
    let places = paths.map { path in
      (projection: projections[path]!, branch: RecordingBranch(path, recorders[index]) as any Branch)
    }
    let result = try Attachment(places).whileAttached(body)
    recorders[index].endPass()
    return result
  }

  /// Bytes that all passes will have recorded of all LoRAs, as foreseen from one pass on a picture so many times smaller.
  func foreseenBytes(growth: Double) -> Int { inputs.count * recorders[0].foreseenBytes(growth: growth) }

  /// The least-squares solution for what was recorded since the last one; other layers keep the coefficients that they have.
  func solve(_ coefficients: MergerCoefficients) throws -> MergerCoefficients {
    var solution = MergerCoefficients(coefficients.vectors.mapValues { $0.mapValues { $0.detached().cloned() } })
    for path in paths {
      let vectors = solution.vectors[path]!
      let moments = try vectors.keys.compactMap { try recorders[$0].moment(at: path) }
      guard moments.count == vectors.count else { continue }
      let solved = withoutGrad {
        ClosedForm.solve(vectors.keys.map { inputs[$0].factors(path) }, moments: moments, pull: closedForm.pull)
      }
      for ((index, old), vector) in zip(vectors, solved) {
        solution.vectors[path]?[index] = vector.to(dtype: old.dtype, device: old.device)
      }
    }
    startRecording()
    return solution
  }
}

/// Keeps what layers read. Layers that read the very same tensor (to_q, to_k and to_v; every cross-attention its text) share
/// their rows, which the first of them keeps.
///
/// Rows in the model's own type, and their product only when a layer is solved: on SDXL a product in every pass costs 40 % of
/// the pass, and the sums of all layers are twice as large as the rows.
private final class InputRecorder {
  private final class Rows {
    let owner: String
    /// Room for the rows of all passes. Set aside at once: small pieces that stay between large ones that go would leave a heap
    /// full of holes.
    private var room: Tensor
    private let distance: Int
    private let process: Int
    private var count = 0
    private var calls = 0
    /// What the first pass had.
    let offered: Int
    /// How many layers still ask for the moment, which is kept until the last one has.
    var readers = 0
    var moment: Tensor?

    init(owner: String, of inputs: Tensor, passes: Int, _ processes: ProcessGroup) {
      self.owner = owner
      process = processes.rank
      offered = inputs.dim(0)
      distance = Self.distance(of: offered, columns: inputs.dim(1), passes: passes, processes)
      let share = (offered + distance - 1) / distance
      room = Tensor.empty([passes * share, inputs.dim(1)], dtype: inputs.dtype, device: inputs.device)
    }

    /// One row is kept of so many, which over all passes and processes gives about one and a half times as many as columns, and
    /// 2048 at least; more do not change the solution. A power of two finds the same ones whether or not a batch is split.
    private static func distance(of offered: Int, columns: Int, passes: Int, _ processes: ProcessGroup) -> Int {
      func powerOfTwo(notAbove limit: Int) -> Int { 1 << (Int.bitWidth - 1 - max(limit, 1).leadingZeroBitCount) }
      let wanted = powerOfTwo(notAbove: max(2 * columns, 2048) / passes)
      return powerOfTwo(notAbove: offered * processes.size / wanted)
    }

    func add(_ inputs: Tensor) {
      let places = ClosedForm.spreadPlaces(offered: inputs.dim(0), distance: distance, process: process, call: calls)
      calls += 1
      if count + places.count > room.dim(0) {
        // A text encoder reads the prompts of a batch one by one.
        room = .concatenated([filled, .empty([count + places.count, room.dim(1)], dtype: room.dtype, device: room.device)])
      }
      room.narrow(0, from: count, count: places.count).copyInPlace(inputs.gathered(places))
      count += places.count
    }

    var filled: Tensor { room.narrow(0, from: 0, count: count) }

    /// Bytes of the room for passes that offer so many rows.
    func bytes(offered: Int, passes: Int, _ processes: ProcessGroup) -> Int {
      let distance = Self.distance(of: offered, columns: room.dim(1), passes: passes, processes)
      return passes * ((offered + distance - 1) / distance) * room.dim(1) * room.dtype.byteCount
    }
  }

  private var rows: [String: Rows] = [:]
  /// What the layers read in the first pass, which shows who shares.
  private var seen: [(input: Tensor, rows: Rows)] = []
  private let draws: Int
  private let processes: ProcessGroup

  /// - Parameters:
  ///   - draws: passes that will be recorded.
  ///   - processes: of which each sees an equal part of a draw.
  init(draws: Int, _ processes: ProcessGroup) {
    self.draws = draws
    self.processes = processes
  }

  func record(_ x: Tensor, at path: String) {
    let own = rows[path] ?? newRows(of: x, at: path)
    if own.owner == path { own.add(Self.inputs(x)) }
  }

  private static func inputs(_ x: Tensor) -> Tensor { (x.rank == 4 ? x.permuted(0, 2, 3, 1) : x).flattened(to: -2) }

  private func newRows(of x: Tensor, at path: String) -> Rows {
    let known = seen.first { $0.input.isIdentical(to: x) }?.rows
    let own = known ?? Rows(owner: path, of: Self.inputs(x), passes: draws, processes)
    if known == nil { seen.append((x, own)) }
    own.readers += 1
    rows[path] = own
    return own
  }

  func endPass() { seen = [] }

  /// Bytes that all passes will have recorded, as foreseen from one with so many times fewer rows.
  func foreseenBytes(growth: Double) -> Int {
    rows.filter { $0.key == $0.value.owner }.values
      .reduce(0) { $0 + $1.bytes(offered: Int(Double($1.offered) * growth), passes: draws, processes) }
  }

  /// E[x xᵀ] of all processes' inputs in 32 bits; nil for a layer that was never used. It can be asked for once.
  func moment(at path: String) throws -> Tensor? {
    guard let own = rows.removeValue(forKey: path) else { return nil }
    if own.moment == nil {
      // Sums of squares leave float16's range; bfloat16's they do not.
      let all = own.filled.dtype == .float16 ? own.filled.to(dtype: .float32) : own.filled
      let sum = all.transposed().matmul(all).to(dtype: .float32)
      try processes.sum([sum])
      own.moment = sum / Double(all.dim(0) * processes.size)
    }
    own.readers -= 1
    defer { if own.readers == 0 { own.moment = nil } }
    return own.moment
  }
}

extension ClosedForm {
  /// One of each `distance` rows, at another place in each: rows are the tokens of pictures, line after line, and at equal
  /// distances that divide the width of a picture all would be of a few columns, the left edge among them. Multiples of an odd
  /// number near the golden section spread over all places.
  ///
  /// - Parameters:
  ///   - distance: a power of two.
  ///   - process: which part of the batch this is; all have as many rows.
  ///   - call: others have other places.
  package static func spreadPlaces(offered: Int, distance: Int, process: Int = 0, call: Int = 0) -> [Int] {
    let golden = Int(Double(distance) * 0.618) | 1
    let count = (offered + distance - 1) / distance
    return (0..<count).map { index in
      let first = index * distance
      return first + golden * (process * count + index + call) % min(distance, offered - first)
    }
  }
}

/// Listens to one layer's input and adds nothing.
private final class RecordingBranch: Branch {
  private let path: String
  private let recorder: InputRecorder
  private let nothing = Tensor(0)

  init(_ path: String, _ recorder: InputRecorder) {
    self.path = path
    self.recorder = recorder
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    recorder.record(x, at: path)
    return nothing
  }
}
