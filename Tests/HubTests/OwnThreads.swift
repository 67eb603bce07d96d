import Foundation
import Testing

/// Runs a test, and what it awaits, on threads of its own. Swift's pool has as many threads as the machine has cores; tests that compute
/// hold them for longer than the client of a server waits for it, which then asks once more.
struct OwnThreads: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(ThreadPerJob()) { try await function() }
  }
}

extension Trait where Self == OwnThreads {
  static var onOwnThreads: Self { Self() }
}

// Dispatch's queues would not do: it starts no thread while as many are busy as there are cores.
private final class ThreadPerJob: TaskExecutor {
  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    Thread.detachNewThread { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}
