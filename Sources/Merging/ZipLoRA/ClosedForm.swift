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
/// pulled towards ones by ρ: (H + ρ diag H) m = b + ρ diag H · 1. The inputs' second moments S_t are gathered by running
/// the model a few times with each LoRA; in a second pass, with the merged model. Convolutions larger than 1×1 start at one.
public struct ClosedForm: Codable, Sendable, Equatable {
  /// Batches drawn for each LoRA and pass.
  public var draws: Int
  /// 1: inputs as each LoRA alone produces them. More: then as the merged model produces them.
  public var passes: Int
  /// ρ.
  public var pull: Double

  public init(draws: Int = 16, passes: Int = 2, pull: Double = 0.01) {
    self.draws = draws
    self.passes = passes
    self.pull = pull
  }

  func coefficients<Probe: FidelityProbe>(
    for inputs: [MergeInput], plan: MergePlan, probe: Probe, generator: Generator
  ) throws -> MergerCoefficients {
    let projections = probe.projections
    var coefficients = plan.coefficients(for: inputs, on: projections)
    let solvable = plan.zipped.filter { projections[$0]?.weight.shape.dropFirst(2).allSatisfy { $0 == 1 } ?? false }
    try withoutGrad {
      for pass in 0..<passes {
        let moments = try inputs.indices.map { index in
          let model =
            pass == 0
            ? try Attachment(inputs[index].weighted, to: projections)
            : try plan.attachment(of: inputs, coefficients, to: projections)
          return try model.whileAttached {
            try secondMoments(at: solvable, probe: probe, index: index, generator: generator)
          }
        }
        for path in solvable {
          let ones = coefficients.vectors[path]!
          let seen = ones.keys.compactMap { moments[$0][path] }
          guard seen.count == ones.count else { continue }
          let solved = Self.solve(ones.keys.map { inputs[$0].factors(path) }, moments: seen, pull: pull)
          for ((index, one), vector) in zip(ones, solved) {
            coefficients.vectors[path]?[index] = vector.to(dtype: one.dtype, device: one.device)
          }
        }
      }
    }
    return coefficients
  }

  /// E[x xᵀ] at each layer for inputs of LoRA `index`.
  private func secondMoments<Probe: FidelityProbe>(
    at paths: [String], probe: Probe, index: Int, generator: Generator
  ) throws -> OrderedDictionary<String, Tensor> {
    let recorder = MomentRecorder()
    let places = paths.map { path in
      (projection: probe.projections[path]!, branch: MomentBranch(path, recorder) as any Branch)
    }
    try Attachment(places).whileAttached {
      for _ in 0..<draws {
        _ = try probe.prediction(of: probe.draw(index, generator: generator))
        recorder.endPass()
      }
    }
    try recorder.addUp(over: probe.processes, at: paths)
    return paths.reduce(into: [:]) { $0[$1] = recorder.mean(at: $1) }
  }

  /// The least-squares coefficients of one layer.
  ///
  /// - Parameters:
  ///   - factors: of each LoRA, for a linear layer or a 1×1 convolution.
  ///   - moments: S_t [in, in] of the inputs that each LoRA goes with.
  ///   - pull: ρ.
  /// - Returns: one vector [in] a LoRA, in 64 bits.
  public static func solve(_ factors: [LowRankFactors], moments: [Tensor], pull: Double) -> [Tensor] {
    let downs = factors.map { $0.downMatrix.to(dtype: .float64) * $0.scale }
    let ups = factors.map { $0.upMatrix.to(dtype: .float64) }
    let moments = moments.map { $0.to(dtype: .float64) }
    let total = moments.dropFirst().reduce(moments[0], +)
    func gram(_ a: Int, _ b: Int) -> Tensor {
      downs[a].transposed().matmul(ups[a].transposed().matmul(ups[b])).matmul(downs[b])
    }
    var rows: [Tensor] = []
    var rights: [Tensor] = []
    for a in factors.indices {
      let grams = factors.indices.map { gram(a, $0) }
      rows.append(Tensor.concatenated(grams.map { $0 * total }, along: 1))
      rights.append(zip(grams, moments).map { ($0 * $1).sum([1]) }.reduce(Tensor.zeros(like: downs[a][0]), +))
    }
    let h = Tensor.concatenated(rows)
    let diagonal = (h * Tensor.eye(h.dim(0), dtype: .float64, device: h.device)).sum([1])
    // A column that neither LoRA uses has a row of zeros: a trace of the pull keeps H solvable and the coefficient at one.
    let floor = Swift.max(diagonal.mean().item() * 1e-9, 1e-300)
    let pulled = diagonal * pull + floor
    let solution = (h + Tensor.eye(h.dim(0), dtype: .float64, device: h.device) * pulled)
      .solvedByCholesky(Tensor.concatenated(rights) + pulled)
    return solution.chunked(factors.count, along: 0)
  }
}

/// Sums x xᵀ of layers' inputs. Layers that read the very same tensor (to_q, to_k and to_v; every cross-attention its text)
/// share one sum, to which the first of them adds.
private final class MomentRecorder {
  private final class Moment {
    let owner: String
    let sum: Tensor
    var count = 0

    init(owner: String, width: Int, device: Device) {
      self.owner = owner
      sum = Tensor.zeros([width, width], dtype: .float32, device: device)
    }
  }

  private var moments: [String: Moment] = [:]
  /// What the layers read in the first pass, which shows who shares.
  private var seen: [(input: Tensor, moment: Moment)] = []

  func record(_ x: Tensor, at path: String) {
    let moment = moments[path] ?? newMoment(of: x, at: path)
    guard moment.owner == path else { return }
    let rows = (x.rank == 4 ? x.permuted(0, 2, 3, 1) : x).reshaped(-1, moment.sum.dim(0)).to(dtype: .float32)
    moment.sum.addInPlace(rows.transposed().matmul(rows))
    moment.count += rows.dim(0)
  }

  private func newMoment(of x: Tensor, at path: String) -> Moment {
    let shared = seen.first { $0.input.isIdentical(to: x) }?.moment
    let moment = shared ?? Moment(owner: path, width: x.rank == 4 ? x.dim(1) : x.dim(-1), device: x.device)
    if shared == nil { seen.append((x, moment)) }
    moments[path] = moment
    return moment
  }

  func endPass() { seen = [] }

  /// Makes the moments those of whole batches, of which each process has seen an equal part.
  func addUp(over processes: ProcessGroup, at paths: [String]) throws {
    let all = paths.compactMap { path in moments[path].flatMap { $0.owner == path ? $0 : nil } }
    try processes.sum(all.map(\.sum))
    for moment in all { moment.count *= processes.size }
  }

  /// E[x xᵀ]; nil for a layer that was never used.
  func mean(at path: String) -> Tensor? { moments[path].map { $0.sum / Double($0.count) } }
}

/// Listens to one layer's input and adds nothing.
private final class MomentBranch: Branch {
  private let path: String
  private let recorder: MomentRecorder
  private let nothing = Tensor(0)

  init(_ path: String, _ recorder: MomentRecorder) {
    self.path = path
    self.recorder = recorder
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    recorder.record(x, at: path)
    return nothing
  }
}
