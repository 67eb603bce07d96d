internal import CTorch

/// Owns exactly one reference to a libtorch tensor.
final class TensorHandle {
  let pointer: OpaquePointer

  /// Takes over a new reference.
  init(owning pointer: OpaquePointer) { self.pointer = pointer }

  deinit { ct_tensor_release(pointer) }
}
