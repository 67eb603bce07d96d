internal import CTorch

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// Ties `output`, which was computed without a graph, to `inputs` by a backward of the caller's own.
///
/// - Parameter backward: from dL/d(output) to dL/d(input) of each input, nil where none is needed. A graph is recorded in it
///   where derivatives of gradients are asked for. What it throws is thrown by the backward pass.
func attaching(
  _ output: Tensor, to inputs: [Tensor], backward: @escaping (Tensor) throws -> [Tensor?]
) -> Tensor {
  var result: OpaquePointer?
  withExtendedLifetime((inputs, output)) {
    let outputs = [Optional(output.pointer)]
    check(
      "attach backward",
      ct_attach_backward(
        inputs.map { Optional($0.pointer) }, Int32(inputs.count), outputs, 1,
        { context, gradients, _, results, count in
          Unmanaged<BackwardNode>.fromOpaque(context!).takeUnretainedValue()
            .run(gradients![0], UnsafeMutableBufferPointer(start: results!, count: Int(count)))
        },
        { Unmanaged<BackwardNode>.fromOpaque($0!).release() },
        Unmanaged.passRetained(BackwardNode(backward)).toOpaque(), &result))
  }
  return result.map(Tensor.init(owning:)) ?? .failed
}

private final class BackwardNode {
  private let backward: (Tensor) throws -> [Tensor?]

  init(_ backward: @escaping (Tensor) throws -> [Tensor?]) { self.backward = backward }

  /// - Returns: an owned message on failure.
  func run(
    _ gradient: OpaquePointer?, _ results: UnsafeMutableBufferPointer<OpaquePointer?>
  ) -> UnsafeMutablePointer<CChar>? {
    guard let gradient else { return nil }
    ct_tensor_retain(gradient)
    do {
      // libtorch may call from a thread of its own, where the caller's error scope is not.
      let outgoing = try withTorchErrors { try backward(Tensor(owning: gradient)) }
      for (index, tensor) in zip(results.indices, outgoing) {
        guard let tensor else { continue }
        ct_tensor_retain(tensor.pointer)
        results[index] = tensor.pointer
      }
      return nil
    } catch {
      return strdup("\(error)")
    }
  }
}
