internal import Dispatch
internal import Synchronization

/// Runs asynchronous work to its end from the thread of a workflow, which has nothing else to do; its progress is told there.
///
/// - Parameter progress: hears of the last state that `body` reported; false cancels it.
func waiting<Value: Sendable, Progress: Sendable>(
  for body: @escaping @Sendable (_ report: @escaping @Sendable (Progress) -> Void) async throws -> Value,
  progress: (Progress) -> Bool = { _ in true }
) throws -> Value {
  let work = SharedWork<Value, Progress>()
  let task = Task.detached {
    let result: Result<Value, any Error>
    do {
      result = .success(try await body { now in work.progress.withLock { $0 = now } })
    } catch {
      result = .failure(error)
    }
    work.result.withLock { $0 = result }
    work.isDone.signal()
  }
  while work.isDone.wait(timeout: .now() + .milliseconds(100)) == .timedOut {
    if let now = work.progress.withLock({ $0 }), !progress(now) { task.cancel() }
  }
  return try work.result.withLock { $0 }!.get()
}

/// What the two threads have in common.
private final class SharedWork<Value: Sendable, Progress: Sendable>: Sendable {
  let progress = Mutex<Progress?>(nil)
  let result = Mutex<Result<Value, any Error>?>(nil)
  let isDone = DispatchSemaphore(value: 0)
}
