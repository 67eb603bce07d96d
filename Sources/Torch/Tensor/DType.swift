/// Element types, with libtorch's `ScalarType` numbers as raw values.
public enum DType: Int32, Sendable, CaseIterable, CustomStringConvertible {
  case uint8 = 0
  case int8 = 1
  case int16 = 2
  case int32 = 3
  case int64 = 4
  case float16 = 5
  case float32 = 6
  case float64 = 7
  case bool = 11
  case bfloat16 = 15

  public var description: String {
    switch self {
    case .uint8: "uint8"
    case .int8: "int8"
    case .int16: "int16"
    case .int32: "int32"
    case .int64: "int64"
    case .float16: "float16"
    case .float32: "float32"
    case .float64: "float64"
    case .bool: "bool"
    case .bfloat16: "bfloat16"
    }
  }

  /// The type of that name, as in `--dtype bfloat16`.
  public init?(named name: String) {
    guard let found = DType.allCases.first(where: { $0.description == name }) else { return nil }
    self = found
  }

  /// Bytes of one element.
  public var byteCount: Int {
    switch self {
    case .uint8, .int8, .bool: 1
    case .int16, .float16, .bfloat16: 2
    case .int32, .float32: 4
    case .int64, .float64: 8
    }
  }

  /// The smaller of the types that hold the numbers of both, of floating-point types.
  package func joined(with other: DType) -> DType {
    if self == other { return self }
    if byteCount == other.byteCount { return .float32 }
    return byteCount > other.byteCount ? self : other
  }

  public var isFloatingPoint: Bool {
    switch self {
    case .float16, .float32, .float64, .bfloat16: true
    default: false
    }
  }
}
