internal import CTorch

extension Engine {
  /// What `body` makes of each number below `count`, several at once, each with its part of the threads of an operation.
  ///
  /// For operations that share out little of their work, such as decompositions. No graph is recorded.
  ///
  /// - Parameters:
  ///   - width: how many at once; as many as there are threads for what is small, fewer for what takes memory.
  ///   - progress: hears each number of done ones from 0 on, on the caller's thread; what it throws ends the work.
  ///   - body: runs on several threads and must change nothing that another number sees.
  /// - Throws: what `body` throws for the smallest number of those at once; `TorchError` where an operation in it fails.
  package static func atOnce<Output>(
    _ count: Int, width: Int = threads, progress: (_ done: Int) throws -> Void = { _ in },
    _ body: @escaping (Int) throws -> Output
  ) throws -> [Output] {
    try progress(0)
    var outputs: [Output] = []
    while outputs.count < count {
      let first = outputs.count
      outputs += try group(min(width, count - first)) { try body(first + $0) }
      try (first..<outputs.count).forEach { try progress($0 + 1) }
    }
    return outputs
  }

  private static func group<Output>(_ count: Int, _ body: @escaping (Int) throws -> Output) throws -> [Output] {
    // Other threads know neither the caller's error scope nor that it records no graph.
    let guarded = { index in try withTorchErrors { try withoutGrad { try body(index) } } }
    if count == 1 { return [try guarded(0)] }
    var results = [Result<Output, any Error>?](repeating: nil, count: count)
    try results.withUnsafeMutableBufferPointer { results in
      let places = results
      let work = NumberedWork { index in places[index] = Result { try guarded(index) } }
      let message = withExtendedLifetime(work) {
        ct_at_once(
          Int64(count), { Unmanaged<NumberedWork>.fromOpaque($0!).takeUnretainedValue().run(Int($1)) },
          Unmanaged.passUnretained(work).toOpaque())
      }
      if let failure = TorchError("threads", owned: message) { throw failure }
    }
    return try results.map { try $0!.get() }
  }
}

/// What crosses to other threads without the compiler's checks, through a pointer of C. Each number writes to a place of its own
/// and `ct_at_once` returns when all are done, so that nothing is left running; what `body` shares is the caller's care.
private final class NumberedWork {
  let run: (Int) -> Void

  init(_ run: @escaping (Int) -> Void) { self.run = run }
}
