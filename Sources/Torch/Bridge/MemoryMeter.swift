internal import CTorch

/// Counts the bytes of the tensors that are made while it watches, on any device whose allocator tells libtorch (CPU, CUDA).
///
/// Memory that libraries below libtorch use while they compute, such as oneDNN's scratch pads, is not counted.
public final class MemoryMeter {
  private let handle: ct_meter

  /// Runs `body` under a meter of its own; one around it does not see what happens inside.
  public static func watching<Result>(_ body: (MemoryMeter) throws -> Result) rethrows -> Result {
    let meter = MemoryMeter()
    defer { check("memory meter", ct_meter_end()) }
    return try body(meter)
  }

  private init() {
    var handle: ct_meter?
    check("memory meter", ct_meter_begin(&handle))
    self.handle = handle!
  }

  deinit { ct_meter_release(handle) }

  /// Bytes of those that are still there.
  public var held: Int { read().held }

  /// The most bytes that there were at once.
  public var peak: Int { read().peak }

  private func read() -> (held: Int, peak: Int) {
    var (held, peak): (Int64, Int64) = (0, 0)
    ct_meter_read(handle, &held, &peak)
    return (Int(held), Int(peak))
  }
}
