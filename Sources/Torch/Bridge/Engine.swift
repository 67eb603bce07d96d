internal import CTorch

/// What belongs to the whole process.
///
/// glibc's malloc maps each large tensor anew, and the page faults cost a twelfth of the time of a training step. A program on
/// Linux does well to link another one, as `ziplora` does (`tcmalloc_minimal`).
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

  /// Whether the processor has instructions for products of this type. Where it has none, libtorch's plain loops take six times as
  /// long as float32, those of convolutions two hundred times; layers compute in float32 there.
  package static func computes(in dtype: DType) -> Bool { OneDNN.computes(in: dtype) }
}
