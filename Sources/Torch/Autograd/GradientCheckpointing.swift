internal import CTorch

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
  // A leaf of its own makes the node part of every graph.
  return attaching(output, to: inputs + [Tensor.zeros([1]).requiringGrad()], backward: node.backward)
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
    autocast = autocastState(on: device)
  }

  func run(_ inputs: [Tensor]) -> Tensor { withAutocast(autocast, on: device) { body(inputs) } }

  func backward(_ gradient: Tensor) -> [Tensor?] {
    let leaves = inputs.map { input in
      input.requiresGrad && input.dtype.isFloatingPoint ? input.detached().requiringGrad() : input.detached()
    }
    withGrad {
      let output = run(leaves)
      // None of the inputs that ask for gradients may be one that the output depends on.
      if output.requiresGrad { output.backward(gradient) }
    }
    return leaves.map(\.grad)
  }
}
