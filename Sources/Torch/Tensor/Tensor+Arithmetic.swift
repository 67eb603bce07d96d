// Element-wise operations. Shapes broadcast as in PyTorch.
extension Tensor {
  public static func + (a: Tensor, b: Tensor) -> Tensor { call(Ops.add, .tensor(a), .tensor(b)) }
  public static func + (a: Tensor, b: Double) -> Tensor { call(Ops.addScalar, .tensor(a), .double(b)) }
  public static func + (a: Double, b: Tensor) -> Tensor { b + a }
  public static func - (a: Tensor, b: Tensor) -> Tensor { call(Ops.sub, .tensor(a), .tensor(b)) }
  public static func - (a: Tensor, b: Double) -> Tensor { call(Ops.addScalar, .tensor(a), .double(-b)) }
  public static func - (a: Double, b: Tensor) -> Tensor { call(Ops.rsubScalar, .tensor(b), .double(a)) }
  public static func * (a: Tensor, b: Tensor) -> Tensor { call(Ops.mul, .tensor(a), .tensor(b)) }
  public static func * (a: Tensor, b: Double) -> Tensor { call(Ops.mulScalar, .tensor(a), .double(b)) }
  public static func * (a: Double, b: Tensor) -> Tensor { b * a }
  public static func / (a: Tensor, b: Tensor) -> Tensor { call(Ops.div, .tensor(a), .tensor(b)) }
  public static func / (a: Tensor, b: Double) -> Tensor { call(Ops.divScalar, .tensor(a), .double(b)) }
  public static func / (a: Double, b: Tensor) -> Tensor { b.reciprocal() * a }
  public static prefix func - (a: Tensor) -> Tensor { call(Ops.neg, .tensor(a)) }

  public func reciprocal() -> Tensor { call(Ops.reciprocal, .tensor(self)) }
  public func pow(_ exponent: Double) -> Tensor { call(Ops.pow, .tensor(self), .double(exponent)) }
  public func exp() -> Tensor { call(Ops.exp, .tensor(self)) }
  public func log() -> Tensor { call(Ops.log, .tensor(self)) }
  public func sqrt() -> Tensor { call(Ops.sqrt, .tensor(self)) }
  public func square() -> Tensor { call(Ops.square, .tensor(self)) }
  public func sin() -> Tensor { call(Ops.sin, .tensor(self)) }
  public func cos() -> Tensor { call(Ops.cos, .tensor(self)) }
  public func abs() -> Tensor { call(Ops.abs, .tensor(self)) }
  public func sign() -> Tensor { call(Ops.sign, .tensor(self)) }
  public func floor() -> Tensor { call(Ops.floor, .tensor(self)) }
  /// To the nearest integer, halves to the even one.
  public func rounded() -> Tensor { call(Ops.round, .tensor(self)) }
  /// The remainder with the divisor's sign, as Python's `%`.
  public func remainder(_ divisor: Double) -> Tensor { call(Ops.remainderScalar, .tensor(self), .double(divisor)) }
  /// The angle of the point (x: other, y: self).
  public func atan2(_ x: Tensor) -> Tensor { call(Ops.atan2, .tensor(self), .tensor(x)) }

  public func clamped(min: Double? = nil, max: Double? = nil) -> Tensor {
    call(Ops.clamp, .tensor(self), min.map(Value.double) ?? .none, max.map(Value.double) ?? .none)
  }

  public func minimum(_ other: Tensor) -> Tensor { call(Ops.minimum, .tensor(self), .tensor(other)) }
  public func maximum(_ other: Tensor) -> Tensor { call(Ops.maximum, .tensor(self), .tensor(other)) }

  /// self + weight · (other − self).
  public func lerp(_ other: Tensor, _ weight: Double) -> Tensor {
    call(Ops.lerp, .tensor(self), .tensor(other), .double(weight))
  }

  public func lerp(_ other: Tensor, _ weight: Tensor) -> Tensor {
    call(Ops.lerpTensor, .tensor(self), .tensor(other), .tensor(weight))
  }

  public func sigmoid() -> Tensor { call(Ops.sigmoid, .tensor(self)) }
  public func tanh() -> Tensor { call(Ops.tanh, .tensor(self)) }
  public func silu() -> Tensor { call(Ops.silu, .tensor(self)) }
  public func relu() -> Tensor { call(Ops.relu, .tensor(self)) }
  /// The exact form with erf.
  public func gelu() -> Tensor { call(Ops.gelu, .tensor(self)) }
  /// x · σ(1.702 x), as in OpenAI's CLIP (transformers: activations.py QuickGELUActivation).
  public func quickGelu() -> Tensor { self * (self * 1.702).sigmoid() }
}

// Comparisons give bool tensors.
extension Tensor {
  public static func .< (a: Tensor, b: Tensor) -> Tensor { call(Ops.lt, .tensor(a), .tensor(b)) }
  public static func .< (a: Tensor, b: Double) -> Tensor { call(Ops.ltScalar, .tensor(a), .double(b)) }
  public static func .<= (a: Tensor, b: Tensor) -> Tensor { call(Ops.le, .tensor(a), .tensor(b)) }
  public static func .<= (a: Tensor, b: Double) -> Tensor { call(Ops.leScalar, .tensor(a), .double(b)) }
  public static func .> (a: Tensor, b: Tensor) -> Tensor { call(Ops.gt, .tensor(a), .tensor(b)) }
  public static func .> (a: Tensor, b: Double) -> Tensor { call(Ops.gtScalar, .tensor(a), .double(b)) }
  public static func .>= (a: Tensor, b: Tensor) -> Tensor { call(Ops.ge, .tensor(a), .tensor(b)) }
  public static func .>= (a: Tensor, b: Double) -> Tensor { call(Ops.geScalar, .tensor(a), .double(b)) }
  public static func .== (a: Tensor, b: Tensor) -> Tensor { call(Ops.eq, .tensor(a), .tensor(b)) }
  public static func .== (a: Tensor, b: Double) -> Tensor { call(Ops.eqScalar, .tensor(a), .double(b)) }
  public static func .!= (a: Tensor, b: Double) -> Tensor { call(Ops.ne, .tensor(a), .double(b)) }
  public static func .& (a: Tensor, b: Tensor) -> Tensor { call(Ops.logicalAnd, .tensor(a), .tensor(b)) }
  public static func .| (a: Tensor, b: Tensor) -> Tensor { call(Ops.logicalOr, .tensor(a), .tensor(b)) }
  public static prefix func .! (a: Tensor) -> Tensor { call(Ops.logicalNot, .tensor(a)) }

  public func isFinite() -> Tensor { call(Ops.isfinite, .tensor(self)) }

  /// `a` where the (bool) receiver holds, `b` elsewhere.
  public func choose(_ a: Tensor, _ b: Tensor) -> Tensor { call(Ops.where, .tensor(self), .tensor(a), .tensor(b)) }
}

infix operator .& : LogicalConjunctionPrecedence
infix operator .| : LogicalDisjunctionPrecedence
prefix operator .!

// In place: the elements of the receiver change; views of it see that. Outside of autograd only.
extension Tensor {
  /// self += scale · other.
  public func addInPlace(_ other: Tensor, scale: Double = 1) {
    callInPlace(Ops.addInPlace, .tensor(self), .tensor(other), .double(scale))
  }

  public func addInPlace(_ number: Double) { callInPlace(Ops.addScalarInPlace, .tensor(self), .double(number)) }
  public func multiplyInPlace(_ other: Tensor) { callInPlace(Ops.mulInPlace, .tensor(self), .tensor(other)) }
  public func multiplyInPlace(_ number: Double) { callInPlace(Ops.mulScalarInPlace, .tensor(self), .double(number)) }

  /// Copies the elements of `other`, converting type and device.
  public func copyInPlace(_ other: Tensor) { callInPlace(Ops.copyInPlace, .tensor(self), .tensor(other)) }
  public func zeroInPlace() { callInPlace(Ops.zeroInPlace, .tensor(self)) }
  public func fillInPlace(_ number: Double) { callInPlace(Ops.fillInPlace, .tensor(self), .double(number)) }
}
