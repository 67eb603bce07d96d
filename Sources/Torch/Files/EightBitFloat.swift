internal import SafeTensors

/// Floating-point numbers of eight bits, with which nothing computes. Every one of them is exactly some float16.
enum EightBitFloat {
  /// The bits of the float16 that each byte stands for; nil for other types.
  static func halves(of dtype: SafeTensorsDType) -> [UInt16]? {
    switch dtype {
    case .F8_E4M3: e4m3
    case .F8_E5M2: e5m2
    default: nil
    }
  }

  /// The upper half of a float16.
  private static let e5m2 = (UInt16(0)...0xFF).map { $0 << 8 }

  private static let e4m3 = (UInt16(0)...0xFF).map { byte in
    let (sign, exponent, mantissa) = ((byte & 0x80) << 8, byte >> 3 & 0xF, byte & 7)
    // There are no infinite numbers and one NaN of each sign.
    if byte & 0x7F == 0x7F { return sign | 0x7E00 }
    // Exponents are biased by 7, those of float16 by 15.
    if exponent > 0 { return sign | (exponent + 8) << 10 | mantissa << 7 }
    if mantissa == 0 { return sign }
    // Multiples of 2⁻⁹, which in float16 have a leading one that is not written.
    let leading = UInt16(15 - mantissa.leadingZeroBitCount)
    return sign | (leading + 6) << 10 | mantissa << (10 - leading) & 0x3FF
  }
}
