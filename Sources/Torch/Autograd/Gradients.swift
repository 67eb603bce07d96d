internal import CTorch

extension Tensor {
  /// Whether gradients with respect to this tensor are asked for or pass through it.
  public var requiresGrad: Bool { ct_requires_grad(pointer) }

  /// Makes this tensor a leaf that collects a gradient (or stops it from being one) and gives it back.
  @discardableResult
  public func requiringGrad(_ value: Bool = true) -> Tensor {
    check("requires_grad", ct_set_requires_grad(pointer, value))
    return self
  }

  /// What backward passes have added up for this leaf; nil before the first one.
  public var grad: Tensor? {
    var result: OpaquePointer?
    check("grad", ct_grad(pointer, &result))
    return result.map(Tensor.init(owning:))
  }

  public func setGrad(_ gradient: Tensor?) { check("grad", ct_set_grad(pointer, gradient?.pointer)) }

  /// Adds the gradient of this tensor to every leaf it was computed from.
  ///
  /// - Parameter gradient: dL/d(self); nil for a scalar that is the loss itself.
  public func backward(_ gradient: Tensor? = nil, retainGraph: Bool = false) {
    check("backward", ct_backward(pointer, gradient?.pointer, retainGraph))
  }
}

/// Gradients of `outputs` with respect to `inputs`, without touching any leaf; nil for an input that no output uses.
///
/// - Parameter weights: dL/d(output) of each output; ones when nil (scalars only).
public func gradients(
  of outputs: [Tensor], weights: [Tensor]? = nil, withRespectTo inputs: [Tensor], retainGraph: Bool = false,
  createGraph: Bool = false
) -> [Tensor?] {
  var results = [OpaquePointer?](repeating: nil, count: inputs.count)
  let cotangents: [OpaquePointer?] = weights?.map(\.pointer) ?? outputs.map { _ in nil }
  withExtendedLifetime((outputs, weights, inputs)) {
    check(
      "gradients",
      ct_gradients(
        outputs.map { Optional($0.pointer) }, cotangents, Int32(outputs.count), inputs.map { Optional($0.pointer) },
        Int32(inputs.count), retainGraph, createGraph, &results))
  }
  return results.map { $0.map(Tensor.init(owning:)) }
}

/// Whether operations are recorded for a backward pass.
public var isGradEnabled: Bool {
  let enabled = ct_set_grad_enabled(true)
  _ = ct_set_grad_enabled(enabled)
  return enabled
}

/// Runs `body` without recording a graph.
public func withoutGrad<Result>(_ body: () throws -> Result) rethrows -> Result {
  let former = ct_set_grad_enabled(false)
  defer { _ = ct_set_grad_enabled(former) }
  return try body()
}

/// Runs `body` with a graph, also inside of `withoutGrad`.
public func withGrad<Result>(_ body: () throws -> Result) rethrows -> Result {
  let former = ct_set_grad_enabled(true)
  defer { _ = ct_set_grad_enabled(former) }
  return try body()
}
