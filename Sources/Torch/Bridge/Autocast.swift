internal import CTorch

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
