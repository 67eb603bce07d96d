public import OrderedCollections
public import Torch

/// The two thin matrices that a LoRA adds to one weight: ΔW = (alpha / rank) · up · down (arXiv 2106.09685).
///
/// For a linear layer with weight [out, in]: down [r, in], up [out, r]. For a convolution with weight [out, in, k, k]:
/// down [r, in, k, k], up [out, r, 1, 1].
public struct LowRankFactors {
  public let down: Tensor
  public let up: Tensor
  public let alpha: Double

  /// - Parameters:
  ///   - down: [r, in] or [r, in, k, k], r > 0. Anything that `up` does not follow is a programmer's error and traps.
  ///   - up: [out, r] or [out, r, 1, 1].
  public init(down: Tensor, up: Tensor, alpha: Double) {
    // Placeholders of failed operations follow nothing.
    precondition(
      (down.rank == 2 || down.rank == 4) && up.rank == down.rank && up.dim(1) == down.dim(0) && down.dim(0) > 0
        || pendingTorchError != nil, "up \(up.shape) does not follow down \(down.shape)")
    (self.down, self.up, self.alpha) = (down, up, alpha)
  }

  public var rank: Int { down.dim(0) }

  public var scale: Double { alpha / Double(rank) }

  /// The shape of ΔW.
  public var weightShape: [Int] { [up.dim(0)] + down.shape.dropFirst() }

  /// How many inputs, or input channels, the layer has: the columns that ZipLoRA weighs.
  public var inputs: Int { down.dim(1) }

  /// Every number is finite.
  public var isFinite: Bool { down.isFinite().allHold() && up.isFinite().allHold() && alpha.isFinite }

  /// ΔW itself, as large as the weight; for tests and for looking at one layer.
  public func delta(dtype: DType = .float32) -> Tensor {
    (upMatrix.to(dtype: dtype).matmul(downMatrix.to(dtype: dtype)) * scale).reshaped(weightShape)
  }

  /// ‖ΔW‖, the Frobenius norm, from r×r matrices: ‖BA‖² = Σ (BᵀB) ∘ (AAᵀ); from ΔW where that is smaller.
  public var norm: Double {
    let (a, b) = doubles
    guard rank * rank <= b.dim(0) * a.dim(1) else { return b.matmul(a).norm().item() * Swift.abs(scale) }
    let squared = (b.transposed().matmul(b) * a.matmul(a.transposed())).sum().item()
    return Swift.max(squared, 0).squareRoot() * Swift.abs(scale)
  }

  /// The same factors with ΔW times `weight`.
  public func scaled(by weight: Double) -> LowRankFactors { LowRankFactors(down: down, up: up, alpha: alpha * weight) }

  /// The same ΔW, stated with another alpha, in at least 32 bits.
  func restated(alpha: Double) -> LowRankFactors {
    guard alpha != self.alpha else { return self }
    let wide = to(dtype: down.dtype == .float64 ? .float64 : .float32, device: down.device)
    return LowRankFactors(down: wide.down, up: wide.up * (self.alpha / alpha), alpha: alpha).balanced
  }

  /// The largest magnitude in either half.
  var largest: Double { Swift.max(down.abs().max().item(), up.abs().max().item()) }

  /// The same ΔW with halves whose largest numbers are alike, which 16 bits hold best; exactly, as a power of two goes from one
  /// half to the other.
  var balanced: LowRankFactors {
    let (largestDown, largestUp) = (down.abs().max().item(), up.abs().max().item())
    guard largestDown > 0, largestDown < .infinity, largestUp > 0, largestUp < .infinity else { return self }
    let exponent = (largestUp.exponent - largestDown.exponent) / 2
    guard exponent != 0 else { return self }
    let power = Double(sign: .plus, exponent: exponent, significand: 1)
    return LowRankFactors(down: down * power, up: up * (1 / power), alpha: alpha)
  }

  /// One that holds the numbers of both halves.
  var dtype: DType { down.dtype.joined(with: up.dtype) }

  /// Both halves in that type and place; alpha is a number of Swift's.
  public func to(dtype: DType, device: Device) -> LowRankFactors {
    LowRankFactors(down: down.to(dtype: dtype, device: device), up: up.to(dtype: dtype, device: device), alpha: alpha)
  }

  /// down as a matrix [r, in] or [r, in·k·k].
  public var downMatrix: Tensor { down.rank == 2 ? down : down.flattened(from: 1) }

  /// up as a matrix [out, r].
  public var upMatrix: Tensor { up.rank == 2 ? up : up.flattened(from: 1) }
}

/// A LoRA: low-rank changes to some of the layers of a base model.
public struct Adapter {
  /// By full module path in the base model's order: component, then the path as diffusers and transformers name it, such
  /// as `unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q`.
  public var factors: OrderedDictionary<String, LowRankFactors>
  /// What the file said about itself, and what a written file will say.
  public var metadata: OrderedDictionary<String, String>

  public init(
    factors: OrderedDictionary<String, LowRankFactors>, metadata: OrderedDictionary<String, String> = [:]
  ) {
    self.factors = factors
    self.metadata = metadata
  }

  /// ΔW of one layer; nil for a layer that the adapter leaves alone.
  public func delta(_ path: String, dtype: DType = .float32) -> Tensor? { factors[path]?.delta(dtype: dtype) }

  /// ‖ΔW‖ over all layers together.
  public var norm: Double {
    let norms = factors.values.map(\.norm)
    return norms.reduce(0) { $0 + $1 * $1 }.squareRoot()
  }

  /// The layers whose paths have this part, in order.
  ///
  /// - Parameter part: as of `ModuleNames.lies`.
  public func layers(under part: String) -> [String] { factors.keys.filter { ModuleNames.lies($0, under: part) } }

  /// The adapter with every ΔW times `weight`.
  public func scaled(by weight: Double) -> Adapter {
    weight == 1 ? self : Adapter(factors: factors.mapValues { $0.scaled(by: weight) }, metadata: metadata)
  }
}
