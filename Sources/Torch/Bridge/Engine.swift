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

  /// Runs `body`, whose large tensors come from the system each on its own and go back there: for weights, which would leave gaps in the
  /// kept memory when they go.
  static func apart<Result>(_ body: () throws -> Result) rethrows -> Result {
    ct_map_large_blocks(true)
    defer { ct_map_large_blocks(false) }
    return try body()
  }
}
