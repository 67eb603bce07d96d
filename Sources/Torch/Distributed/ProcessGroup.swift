internal import CTorch

/// The processes of one run, of which this is one. Each computes its part of a batch, and what they find is added up here
/// (PyTorch: torch.distributed with the backend gloo). A process alone is a group of one, to which all this costs nothing.
///
/// Whatever exchanges something waits for the others, so all processes have to make the same calls in the same order. They
/// throw `ProcessGroupError` when another process has ended. Tensors of any device are exchanged through main memory.
public final class ProcessGroup {
  /// From 0 on. The first process speaks and writes for all.
  public let rank: Int
  public let size: Int

  private let environment: LaunchEnvironment?
  private let pointer: OpaquePointer?

  /// How long processes wait for each other in the beginning, and later: one of them may draw pictures for a while. One
  /// that ends is noticed at once.
  private static let secondsToJoin = 600.0
  private static let secondsToWait = 7 * 86400.0
  /// Elements that are exchanged at once; more memory than they take is not needed.
  private static let bucket = 1 << 23

  /// This process alone.
  public init() {
    (rank, size, environment, pointer) = (0, 1, nil, nil)
  }

  /// Finds the other processes and returns when all are there.
  ///
  /// - Parameter goesOn: asked every now and then until they are; false ends the search.
  /// - Throws: `ProcessGroupError`.
  public init(joining environment: LaunchEnvironment, while goesOn: () -> Bool = { true }) throws {
    (rank, size) = (environment.rank, environment.size)
    self.environment = environment
    var pointer: OpaquePointer?
    let message = withoutActuallyEscaping(goesOn) { goesOn in
      var question = Question(ask: goesOn)
      return withUnsafeMutablePointer(to: &question) { question in
        ct_group_join(
          environment.host, Int32(environment.port), environment.hostsStore, "ziplora/\(environment.attempt)", Device.cpu.code,
          Int32(environment.rank), Int32(environment.size), Self.secondsToJoin, Self.secondsToWait,
          { $0!.assumingMemoryBound(to: Question.self).pointee.ask() }, question, &pointer)
      }
    }
    if let error = TorchError("join", owned: message) {
      throw ProcessGroupError(
        rank, "the other \(size - 1) of \(size) were not found at \(environment.host):\(environment.port) (\(error.message))")
    }
    self.pointer = pointer
  }

  private struct Question {
    let ask: () -> Bool
  }

  deinit {
    // Nothing is left to do about connections that do not close.
    if let pointer { ct_free(ct_group_release(pointer)) }
  }

  public var isFirst: Bool { rank == 0 }

  /// The device of this process where that one was asked for.
  public func device(for asked: Device) -> Device { environment?.device(for: asked) ?? asked }

  /// This process's part of `count` things, of which each gets as many; a number that does not divide is a bug.
  public func part(of count: Int) -> Range<Int> {
    precondition(count % size == 0, "\(count) cannot be shared by \(size) processes")
    return (count / size * rank)..<(count / size * (rank + 1))
  }

  /// Those of `count` things that this process makes where they need not be shared evenly.
  public func turns(of count: Int) -> [Int] { Array(stride(from: rank, to: count, by: size)) }

  private func exchange(_ body: (OpaquePointer) -> UnsafeMutablePointer<CChar>?) throws {
    guard let pointer else { return }
    // The others would wait for the rest of what a failed operation has given.
    if let failure = ErrorScope.current?.error { throw failure }
    if let error = TorchError("exchange", owned: body(pointer)) {
      throw ProcessGroupError(rank, "another process has ended or cannot be reached (\(error.message)); see what it said")
    }
  }

  // MARK: tensors

  /// Adds up each tensor over the processes, in place. The sums are the same to the bit in all of them.
  public func sum(_ tensors: [Tensor]) throws {
    try exchangeJoined(tensors) { ct_group_sum($0, $1) }
  }

  /// Gives all processes the values of the first one's, in place.
  public func broadcast(_ tensors: [Tensor]) throws {
    try exchangeJoined(tensors) { ct_group_broadcast($0, $1, 0) }
  }

  /// Many small tensors are exchanged as one.
  private func exchangeJoined(
    _ tensors: [Tensor], _ call: (OpaquePointer, OpaquePointer) -> UnsafeMutablePointer<CChar>?
  ) throws {
    guard size > 1 else { return }
    try withoutGrad {
      var start = 0
      while start < tensors.count {
        var (end, count) = (start, 0)
        repeat {
          count += tensors[end].count
          end += 1
        } while end < tensors.count && count + tensors[end].count <= Self.bucket
        let part = tensors[start..<end].map { $0.detached() }
        let dtype: DType = part.contains { $0.dtype == .float64 } ? .float64 : .float32
        let joined = Tensor.concatenated(part.map { $0.flattened().to(dtype: dtype, device: .cpu) })
        try exchange { call($0, joined.pointer) }
        for (tensor, value) in zip(part, joined.split(part.map(\.count), along: 0)) {
          tensor.copyInPlace(value.reshaped(tensor.shape))
        }
        start = end
      }
    }
  }

  // MARK: values

  /// Adds up each number over the processes.
  public func sum(_ numbers: [Double]) throws -> [Double] {
    guard size > 1, !numbers.isEmpty else { return numbers }
    let tensor = Tensor(numbers)
    try sum([tensor])
    return tensor.doubles()
  }

  /// Whether it holds in all processes.
  public func all(_ holds: Bool) throws -> Bool { try sum([holds ? 0 : 1])[0] == 0 }

  /// What the first process found, where another may find something else: on a disk, or in the last bits of a number.
  public func first(_ numbers: [Int]) throws -> [Int] {
    guard size > 1 else { return numbers }
    let count = Int(try sum([isFirst ? Double(numbers.count) : 0])[0])
    let tensor = isFirst ? Tensor(numbers.map(Double.init)) : Tensor.zeros([count], dtype: .float64)
    try broadcast(count > 0 ? [tensor] : [])
    return tensor.ints()
  }

  public func first(_ holds: Bool) throws -> Bool { try first([holds ? 1 : 0]) == [1] }

  /// Waits until all processes are here.
  public func barrier() throws { try exchange { ct_group_barrier($0) } }

  // MARK: what one process does without waiting for the others

  /// Whether this process is the first to claim something. Claims end with the run.
  public func claim(_ key: String) throws -> Bool {
    var claimed = true
    try exchange { ct_group_claim($0, "claim/\(key)", "\(rank)", &claimed) }
    return claimed
  }

  /// Writes a line where all processes can read it.
  public func post(_ line: String, on board: String) throws {
    try exchange { ct_group_append($0, "board/\(board)", "\(line)\n") }
  }

  /// The lines that all processes have written there, oldest first; a process alone reads none.
  public func lines(on board: String) throws -> [String] {
    var text: UnsafeMutablePointer<CChar>?
    try exchange { ct_group_get($0, "board/\(board)", &text) }
    defer { ct_free(text) }
    return text.map { String(cString: $0).split(separator: "\n").map(String.init) } ?? []
  }
}

/// The processes of a run cannot go on together.
public struct ProcessGroupError: Error, CustomStringConvertible {
  public let rank: Int
  public let reason: String

  init(_ rank: Int, _ reason: String) {
    self.rank = rank
    self.reason = reason
  }

  public var description: String { "process \(rank): \(reason)" }
}
