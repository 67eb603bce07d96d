internal import Foundation
internal import Synchronization
public import Torch

/// Runs `body` in each process of a group and gives what they return, in their order. The processes are threads of this
/// one: c10d does not mind.
public func inGroup<Result: Sendable>(
  of size: Int, _ body: @escaping @Sendable (ProcessGroup) throws -> Result
) throws -> [Result] {
  let environments = try LaunchEnvironment.onThisMachine(size)
  return try onThreads(size) { rank in try body(ProcessGroup(joining: environments[rank])) }
}

/// Runs `body` with each number below `count` at the same time. Not on a queue, which would let some wait for the end of
/// others on a small machine.
public func onThreads<Result: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) throws -> Result
) throws -> [Result] {
  let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
  let group = DispatchGroup()
  for index in 0..<count {
    group.enter()
    Thread.detachNewThread {
      let result = Swift.Result { try body(index) }
      results.withLock { $0[index] = result }
      group.leave()
    }
  }
  group.wait()
  return try (0..<count).map { index in try results.withLock { $0[index]! }.get() }
}
