internal import CTorch

/// What belongs to the whole process.
public enum Engine {
  /// libtorch's version, such as `2.13.0`.
  public static var version: String { String(cString: ct_version()) }

  /// Threads of one operation. Results of a run are reproducible for the same number.
  public static var threads: Int {
    get { Int(ct_threads()) }
    set {
      precondition(newValue > 0, "\(newValue) threads: expected at least 1")
      check("set_num_threads", ct_set_threads(Int32(newValue)))
    }
  }

  /// Keeps freed memory for the next tensor instead of giving it back to the system (glibc; elsewhere nothing changes).
  ///
  /// glibc maps each large tensor anew, and the page faults cost a tenth of the time of a model's pass. For programs that
  /// do nothing but compute, before the first tensor is made.
  public static func keepFreedMemory() { ct_keep_freed_memory() }
}

/// Runs `body` with matrix products and convolutions in `dtype` and the rest in the precision it needs
/// (PyTorch: torch.autocast). Weights stay as they are, and each use casts them anew.
public func autocast<Result>(to dtype: DType, device: Device = .cpu, _ body: () throws -> Result) rethrows -> Result {
  try withAutocast(dtype.rawValue, on: device, body)
}

/// What autocast on a device casts to; -1 when it is off.
func autocastState(on device: Device) -> Int32 {
  var state: Int32 = -1
  check("autocast", ct_autocast(device.code, &state))
  return state
}

/// Runs `body` in a state of autocast that `autocastState` gave, then puts back what was.
func withAutocast<Result>(_ state: Int32, on device: Device, _ body: () throws -> Result) rethrows -> Result {
  let former = autocastState(on: device)
  check("autocast", ct_set_autocast(device.code, state))
  defer { check("autocast", ct_set_autocast(device.code, former)) }
  return try body()
}
