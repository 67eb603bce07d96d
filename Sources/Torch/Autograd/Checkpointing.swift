internal import CTorch

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// Runs `body` without keeping what its backward needs and runs it again when the backward comes: memory of the
/// inputs instead of memory of all that happens inside, for one more forward pass.
///
/// `body` must give the same result each time. Leaves that it captures collect their gradients as usual.
/// - Parameter inputs: everything `body` uses that gradients pass through; other tensors may be captured.
public func checkpointed(_ inputs: [Tensor], _ body: @escaping ([Tensor]) -> Tensor) -> Tensor {
  guard isGradEnabled else { return body(inputs) }
  let node = CheckpointNode(inputs: inputs, body: body)
  // Where no input asks for gradients, a graph tells whether a captured leaf does (a merger coefficient). Layers before the
  // first leaf have nothing to pass back, and nothing of theirs is kept or computed again.
  let isReached = inputs.contains { $0.requiresGrad }
  let output = isReached ? withoutGrad { node.run(inputs.map { $0.detached() }) } : node.run(inputs)
  guard isReached || output.requiresGrad else { return output }
  let anchor = Tensor.zeros([1]).requiringGrad()
  let tied = inputs + [anchor]
  var result: OpaquePointer?
  withExtendedLifetime((tied, output)) {
    let outputs = [Optional(output.pointer)]
    check(
      "checkpoint",
      ct_attach_backward(
        tied.map { Optional($0.pointer) }, Int32(tied.count), outputs, 1,
        { context, gradients, _, results, count in
          Unmanaged<CheckpointNode>.fromOpaque(context!).takeUnretainedValue()
            .backward(gradients![0], results!, Int(count))
        },
        { Unmanaged<CheckpointNode>.fromOpaque($0!).release() },
        Unmanaged.passRetained(node).toOpaque(), &result))
  }
  return result.map(Tensor.init(owning:)) ?? .failed
}

private final class CheckpointNode {
  private let inputs: [Tensor]
  private let body: ([Tensor]) -> Tensor
  private let device: Device
  /// The state of autocast that the first run was in: the second is after the end of that scope.
  private let autocast: Int32

  init(inputs: [Tensor], body: @escaping ([Tensor]) -> Tensor) {
    self.inputs = inputs
    self.body = body
    device = inputs.first?.device ?? .cpu
    autocast = ct_autocast(device.code)
  }

  func run(_ inputs: [Tensor]) -> Tensor { withAutocast(autocast, on: device) { body(inputs) } }

  func backward(
    _ gradient: OpaquePointer?, _ results: UnsafeMutablePointer<OpaquePointer?>, _ count: Int
  ) -> UnsafeMutablePointer<CChar>? {
    guard let gradient else { return nil }
    ct_tensor_retain(gradient)
    let incoming = Tensor(owning: gradient)
    let leaves = inputs.map { input in
      input.requiresGrad && input.dtype.isFloatingPoint ? input.detached().requiringGrad() : input.detached()
    }
    do {
      // libtorch may call from a thread of its own, where the caller's error scope is not.
      try withTorchErrors {
        withGrad {
          let output = run(leaves)
          // None of the inputs that ask for gradients may be one that the output depends on.
          if output.requiresGrad { output.backward(incoming) }
        }
      }
    } catch {
      return strdup("\(error)")
    }
    for (index, leaf) in leaves.enumerated() {
      guard let grad = leaf.grad else { continue }
      ct_tensor_retain(grad.pointer)
      results[index] = grad.pointer
    }
    return nil
  }
}
