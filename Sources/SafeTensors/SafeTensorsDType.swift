/// An element type of the safetensors format, spelled as in the file (safetensors 0.8: tensor.rs `Dtype`).
///
/// The cases stand in the reference implementation's order, narrowest first. The order is part of the format in practice:
/// files are written in descending order of it, so that wide elements come first and every tensor is aligned.
public enum SafeTensorsDType: String, CaseIterable, Sendable {
  /// One byte per element, 0 or 1.
  case BOOL
  /// Four-bit float, two elements to a byte.
  case F4
  /// Six-bit floats (OCP microscaling formats), four elements to three bytes.
  case F6_E2M3, F6_E3M2
  case U8, I8
  /// Eight-bit floats; `E` counts exponent bits, `M` mantissa bits. `F8_E4M3` is torch's `float8_e4m3fn`,
  /// `F8_E8M0` a scale without sign or mantissa, `FNUZ` the variants without negative zero.
  case F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ
  case I16, U16, F16, BF16
  case I32, U32, F32
  /// Complex number of two 32-bit floats.
  case C64
  case F64, I64, U64

  /// Bits that one element takes in the file.
  public var bitWidth: Int {
    switch self {
    case .F4: 4
    case .F6_E2M3, .F6_E3M2: 6
    case .BOOL, .U8, .I8, .F8_E5M2, .F8_E4M3, .F8_E8M0, .F8_E4M3FNUZ, .F8_E5M2FNUZ: 8
    case .I16, .U16, .F16, .BF16: 16
    case .I32, .U32, .F32: 32
    case .C64, .F64, .I64, .U64: 64
    }
  }

  /// Place in the reference implementation's order; the writer sorts by it.
  var rank: Int { Self.allCases.firstIndex(of: self)! }
}
