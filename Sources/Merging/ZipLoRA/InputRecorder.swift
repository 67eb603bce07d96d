internal import LoRA
internal import OrderedCollections
internal import Torch

/// Keeps what layers read. Layers that read the very same tensor (to_q, to_k and to_v; every cross-attention its text) share
/// their rows, which the first of them keeps.
///
/// Rows in the model's own type, and their product only when all are there: on SDXL a product in every pass costs 40 % of the pass.
package final class InputRecorder {
  private final class Rows {
    let owner: String
    /// Room for the rows of all passes. Set aside at once: small pieces that stay between large ones that go would leave a heap
    /// full of holes.
    private var room: Tensor
    /// Σ x xᵀ in place of the rows.
    private var product: Tensor?
    private let distance: Int
    private let process: Int
    /// Several processes have to keep as many rows each.
    private let isAlone: Bool
    private var count = 0
    private var calls = 0
    /// What the first pass had.
    let offered: Int
    /// How many layers still ask for the moment, which is kept until the last one has.
    var readers = 0
    var moment: SecondMoment?
    /// Passes after the first that had the very same rows, as where a prompt is the same in all of them: they are kept once.
    private var repetitions = 0

    init(owner: String, of inputs: Tensor, passes: Int, _ processes: ProcessGroup) {
      self.owner = owner
      process = processes.rank
      isAlone = processes.size == 1
      offered = inputs.dim(0)
      distance = Self.distance(of: offered, columns: inputs.dim(1), passes: passes, processes)
      let share = (offered + distance - 1) / distance
      room = Tensor.empty([passes * share, inputs.dim(1)], dtype: inputs.dtype, device: inputs.device)
    }

    /// One row is kept of so many, which over all passes and processes gives about one and a half times as many as columns, and
    /// about 2048 at least; more do not change the solution. A power of two finds the same ones whether or not a batch is split.
    private static func distance(of offered: Int, columns: Int, passes: Int, _ processes: ProcessGroup) -> Int {
      func powerOfTwo(notAbove limit: Int) -> Int { 1 << (Int.bitWidth - 1 - max(limit, 1).leadingZeroBitCount) }
      let wanted = powerOfTwo(notAbove: max(2 * columns, 2048) / passes)
      return powerOfTwo(notAbove: offered * processes.size / wanted)
    }

    func add(_ inputs: Tensor) {
      if isAlone, distance == 1, count == inputs.dim(0), filled.equals(inputs) {
        repetitions += 1
        return
      }
      let first = filled
      for _ in 0..<repetitions { append(first) }
      repetitions = 0
      let places = InputRecorder.spreadRows(of: inputs.dim(0), distance: distance, process: process, call: calls)
      calls += 1
      append(inputs.gathered(places))
    }

    private func append(_ rows: Tensor) {
      let end = count + rows.dim(0)
      if end > room.dim(0) {
        // A text encoder reads the prompts of a batch one by one.
        room = .concatenated([filled, .empty([end, room.dim(1)], dtype: room.dtype, device: room.device)])
      }
      room.narrow(0, from: count, count: rows.dim(0)).copyInPlace(rows)
      count = end
    }

    private var filled: Tensor { room.narrow(0, from: 0, count: count) }

    /// Sums of squares leave float16's range; bfloat16's they do not.
    private var productType: DType { room.dtype == .float16 ? .float32 : room.dtype }

    /// Of a product of so many rows, where it is smaller than they are.
    private func bytesOfProduct(rows: Int) -> Int? {
      let bytes = room.dim(1) * room.dim(1) * productType.byteCount
      return bytes < rows * room.dim(1) * room.dtype.byteCount ? bytes : nil
    }

    /// No more rows will come.
    func finish() {
      guard bytesOfProduct(rows: count) != nil else { return }
      product = sum
      room = .empty([0, room.dim(1)], dtype: room.dtype, device: room.device)
    }

    private var sum: Tensor { product ?? filled.to(dtype: productType).gram() }

    /// E[x xᵀ] of all processes' inputs in 32 bits.
    func secondMoment(_ processes: ProcessGroup) throws -> SecondMoment {
      let total = Double(count * processes.size)
      if isAlone, 16 * count <= room.dim(1) { return .rows(filled.to(dtype: .float32) / total.squareRoot()) }
      let sum = sum.to(dtype: .float32)
      try processes.sum([sum])
      return .matrix(sum / total)
    }

    /// Bytes of what passes that offer so many rows leave: while they are run, and later.
    func bytes(offered: Int, passes: Int, _ processes: ProcessGroup) -> (rows: Int, finished: Int) {
      let distance = Self.distance(of: offered, columns: room.dim(1), passes: passes, processes)
      let count = passes * ((offered + distance - 1) / distance)
      let bytes = count * room.dim(1) * room.dtype.byteCount
      return (bytes, bytesOfProduct(rows: count) ?? bytes)
    }
  }

  private var rows: OrderedDictionary<String, Rows> = [:]
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

  private var owned: [Rows] { rows.filter { $0.key == $0.value.owner }.values.elements }

  /// All draws were recorded: what is kept of them becomes smaller.
  func finish() { for own in owned { own.finish() } }

  /// Bytes that all passes will have recorded, as foreseen from one with so many times fewer rows: until `finish`, and from then on.
  func foreseenBytes(growth: Double) -> (rows: Int, finished: Int) {
    owned.reduce((0, 0)) { sum, own in
      let own = own.bytes(offered: Int(Double(own.offered) * growth), passes: draws, processes)
      return (sum.0 + own.rows, sum.1 + own.finished)
    }
  }

  /// E[x xᵀ] of all processes' inputs in 32 bits; nil for a layer that was never used. It can be asked for once.
  func moment(at path: String) throws -> SecondMoment? {
    guard let own = rows.removeValue(forKey: path) else { return nil }
    if own.moment == nil { own.moment = try own.secondMoment(processes) }
    own.readers -= 1
    defer { if own.readers == 0 { own.moment = nil } }
    return own.moment
  }
}

extension InputRecorder {
  /// Picks one row from each block of `distance` rows, at a place that varies from block to block: rows are the tokens of a picture,
  /// line after line, and places at one distance would all be in a few of its columns, the left edge among them. Multiples of an odd
  /// number near the golden section spread over all places.
  ///
  /// - Parameters:
  ///   - offered: how many rows there are.
  ///   - distance: a power of two.
  ///   - process: which part of the batch this is; all have as many rows.
  ///   - call: which pass this is; each has other places.
  package static func spreadRows(of offered: Int, distance: Int, process: Int = 0, call: Int = 0) -> [Int] {
    let golden = Int(Double(distance) * 0.618) | 1
    let count = (offered + distance - 1) / distance
    return (0..<count).map { index in
      let first = index * distance
      return first + golden * (process * count + index + call) % min(distance, offered - first)
    }
  }
}

/// Listens to one layer's input and adds nothing.
final class RecordingBranch: Branch {
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
