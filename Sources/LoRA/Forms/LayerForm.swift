public import Torch

/// One way of telling in tensors how the weight of a layer changes: LoRA, LoHa, LoKr, the whole difference.
///
/// Whatever the form, ΔW is a product of two matrices, if need be of full rank. So a form has to say only that product; what
/// is too thick for a LoRA is cut by singular values (`LowRankFactors.reduced`).
///
/// To add one: a file beside this one and a line in `LayerForms.all`.
public protocol LayerForm {
  /// As in `ziplora inspect`.
  static var name: String { get }
  /// The tensors that tell this form, and no other.
  static var parts: [AdapterKey.Part] { get }

  /// - Throws: for tensors that are not there or do not follow each other.
  init(_ tensors: LayerTensors) throws(AdapterFileError.Defect)

  /// [out, in] or [out, in, k, k]. A matrix may also stand for a convolution, as [out, in·k·k].
  var weightShape: [Int] { get }
  /// What the file calls the rank; nil for a form that has none.
  var rank: Int? { get }
  /// nil for a form without one.
  var alpha: Double? { get }
  /// Of the numbers in the file.
  var dtype: DType { get }
  /// ‖ΔW‖, the Frobenius norm.
  var norm: Double { get }

  /// ΔW exactly, of whatever rank that takes.
  func factors() -> LowRankFactors

  /// The closest factors of at most this rank. What is a LoRA already stays as it is.
  func factors(atMost rank: Int) -> ReducedFactors
}

extension LayerForm {
  public var norm: Double { factors().norm }

  public func factors(atMost rank: Int) -> ReducedFactors { factors().reduced(to: .rank(rank)) }
}

/// The forms that are read.
public enum LayerForms {
  public static var all: [any LayerForm.Type] { [LowRankForm.self, HadamardForm.self, KroneckerForm.self, DenseForm.self] }

  /// Known by their tensors, so that the message can call them by name.
  static let unsupported: [(name: String, parts: [AdapterKey.Part])] = [
    ("GLoRA", ["a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"].map(AdapterKey.Part.init)),
    ("OFT or BOFT", ["oft_blocks", "oft_diag", "oft_R.weight", "rescale"].map(AdapterKey.Part.init)),
    ("T-LoRA", ["q_layer.weight", "p_layer.weight", "lambda_layer"].map(AdapterKey.Part.init)),
    ("(IA)³", [AdapterKey.Part("on_input"), weight]),
    ("a replaced weight", [AdapterKey.Part("set_weight")]),
  ]

  /// Changes of biases and norms: vectors, which no pair of matrices holds.
  static let vectors = ["diff_b", "w_norm", "b_norm"].map(AdapterKey.Part.init) + [bias]

  static let bias = AdapterKey.Part("bias")

  private static let weight = AdapterKey.Part("weight")

  /// Every part that any form has.
  static let parts: [AdapterKey.Part] =
    all.flatMap { $0.parts } + Magnitude.parts + vectors + unsupported.flatMap(\.parts) + [.alpha]

  /// Those that tell an adapter from a checkpoint, of which every layer has a weight and a bias; for dialects that name layers as
  /// checkpoints do.
  static let partsOfNoCheckpoint = parts.filter { $0 != weight && $0 != bias }
}

/// The tensors of one layer, checked to be finite numbers except for alpha.
public struct LayerTensors {
  public let stem: String
  let tensors: [AdapterKey.Part: Tensor]
  /// What the metadata says for a layer of this rank.
  let statedAlpha: (_ rank: Int) -> Double?
  /// What the metadata says alpha / rank is for a layer whose tensors have no rank.
  let statedScale: Double?
  /// How the file calls a part.
  let key: (AdapterKey.Part) -> String

  public subscript(part: AdapterKey.Part) -> Tensor? { tensors[part] }

  /// All of these parts.
  ///
  /// - Throws: `missing` with every one that is not there.
  public func all(_ parts: AdapterKey.Part...) throws(AdapterFileError.Defect) -> [Tensor] {
    let missing = parts.filter { tensors[$0] == nil }
    guard missing.isEmpty else { throw .missing(missing.map(key), for: stem) }
    return parts.map { tensors[$0]! }
  }

  /// The same numbers in one type, wide enough for products of them.
  func widened() -> LayerTensors {
    let dtype: DType = tensors.values.contains { $0.dtype == .float64 } ? .float64 : .float32
    return LayerTensors(
      stem: stem, tensors: tensors.mapValues { $0.to(dtype: dtype) }, statedAlpha: statedAlpha, statedScale: statedScale, key: key
    )
  }

  /// LyCORIS takes an alpha such as 1e10 for "as thick as can be".
  private static let largestAlpha = 1e12

  /// The alpha of a layer of this rank: the file's tensor, else its metadata, else the rank.
  public func alpha(rank: Int) throws(AdapterFileError.Defect) -> Double {
    let stated = statedAlpha(rank)
    var alpha = stated ?? Double(rank)
    if let tensor = tensors[.alpha] {
      guard tensor.count == 1 else { throw .alphaNotOneNumber(key(.alpha), shape: tensor.shape) }
      alpha = tensor.item()
      guard alpha.isFinite else { throw .notFinite(key(.alpha)) }
      guard alpha != 0 else { throw .zeroAlpha(key(.alpha)) }
      if let stated, stated != alpha { throw .twoAlphas(stem, tensor: alpha, metadata: stated) }
    }
    guard abs(alpha) <= Self.largestAlpha else { throw .tooLarge(key(.alpha), alpha, limit: Self.largestAlpha) }
    return alpha
  }

  /// - Throws: `shapes` with what these parts have.
  func require(
    _ holds: Bool, _ parts: [AdapterKey.Part], _ expected: String
  ) throws(AdapterFileError.Defect) {
    guard !holds else { return }
    let found = parts.compactMap { part in tensors[part].map { "\(part) \($0.shape)" } }
    throw .shapes(stem, found: found, expected: expected)
  }

  /// Refuses what small tensors can multiply to but no memory holds.
  ///
  /// - Parameter weight: the shape of the product.
  func requirePossible(_ weight: [Int]) throws(AdapterFileError.Defect) {
    // The largest layers of models, embeddings of T5, have half of it.
    let limit = 1 << 28
    guard weight.reduce(1, { $0 * Double($1) }) <= Double(limit) else { throw .hugeWeight(stem, shape: weight, limit: limit) }
  }
}

/// What a file changes at one layer.
public struct LayerChange {
  public let form: any LayerForm
  /// Of DoRA, on top of any form.
  let magnitude: Magnitude?

  public var weightShape: [Int] { form.weightShape }
  public var inputs: Int { form.weightShape[1] }
  public var rank: Int? { form.rank }
  public var alpha: Double? { form.alpha }
  public var dtype: DType { form.dtype }

  /// As in `ziplora inspect`.
  public var formName: String { type(of: form).name + (magnitude == nil ? "" : " with DoRA") }

  /// Whether the file already holds factors of ΔW.
  public var isLoRA: Bool { magnitude == nil && form is LowRankForm }

  /// Whether ΔW depends on the weight itself.
  public var needsBase: Bool { magnitude != nil }

  /// ‖ΔW‖; nil where that takes the base's weight.
  public var norm: Double? { magnitude == nil ? form.norm : nil }

  /// ΔW as factors of at most this rank; a LoRA stays as it is.
  ///
  /// - Parameter weight: of the base, for DoRA.
  func factors(atMost rank: Int, beside weight: Tensor?) -> ReducedFactors {
    guard let magnitude, let weight else { return form.factors(atMost: rank) }
    return DenseForm(magnitude.delta(form.factors(), beside: weight)).factors(atMost: rank)
  }
}
