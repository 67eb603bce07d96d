internal import CTorch
internal import Synchronization

/// What libtorch said when an operation failed, with the operation that failed.
public struct TorchError: Error, CustomStringConvertible {
  public let operation: String
  public let message: String

  public var description: String { "\(operation): \(message)" }

  /// Whether there was not enough memory, be it the machine's or a GPU's.
  public var isOutOfMemory: Bool { message.contains("can't allocate memory") || message.contains("out of memory") }

  /// Takes ownership of a message of the C surface.
  init?(_ operation: String, owned: UnsafeMutablePointer<CChar>?) {
    guard let owned else { return nil }
    self.operation = operation
    self.message = String(cString: owned)
    ct_free(owned)
  }

  init(operation: String, message: String) {
    self.operation = operation
    self.message = message
  }
}

/// Collects the first failure of a scope.
final class ErrorBox: Sendable {
  private let first = Mutex<TorchError?>(nil)

  var error: TorchError? { first.withLock { $0 } }

  func record(_ error: TorchError) { first.withLock { if $0 == nil { $0 = error } } }
}

enum ErrorScope {
  @TaskLocal static var current: ErrorBox?
}

/// What the scope around this code is going to throw, nil where nothing has failed in it: tensors made since then may be
/// placeholders of any shape.
package var pendingTorchError: TorchError? { ErrorScope.current?.error }

/// Runs `body` and throws the first tensor operation that failed in it.
///
/// Tensor operations do not throw, so that formulas stay readable: outside of a scope a failure traps with the
/// operation, its arguments and libtorch's message, inside it the results are placeholders until the scope ends.
/// Everything a user starts runs in one, so that running out of memory is an error and not a crash.
public func withTorchErrors<Result>(_ body: () throws -> Result) throws -> Result {
  let box = ErrorBox()
  let result: Result
  do {
    result = try ErrorScope.$current.withValue(box) { try body() }
  } catch {
    // A later error is often only the echo of the first one.
    throw box.error ?? error
  }
  if let error = box.error { throw error }
  return result
}

/// Traps, or records the error in the current scope.
func fail(_ error: TorchError) {
  guard let box = ErrorScope.current else { preconditionFailure(error.description) }
  box.record(error)
}

/// For C calls that return an owned message.
func check(_ operation: @autoclosure () -> String, _ message: UnsafeMutablePointer<CChar>?) {
  if let message, let error = TorchError(operation(), owned: message) { fail(error) }
}

/// Throws one of the C++ exceptions that the bridge must survive; for the tests of that promise.
package func throwFromLibtorch(kind: Int) throws {
  if let error = TorchError("throw", owned: ct_throw(Int32(kind))) { throw error }
}
