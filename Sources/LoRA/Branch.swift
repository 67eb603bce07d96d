public import OrderedCollections
public import Torch

/// How low-rank factors act on a layer's input: two products, or a convolution of the layer's own stride and padding and
/// then a 1×1 one. Nothing of the weight's size is ever formed.
public struct LowRankProduct {
  private let convolution: (stride: Int, padding: Int)?

  /// For factors beside this layer's weight.
  public init(for projection: any Projection) {
    convolution = (projection as? Conv2d).map { ($0.stride, $0.padding) }
  }

  /// up(scale · down(x)), computed in the type of `x`.
  ///
  /// - Parameters:
  ///   - x: [..., in] or [N, in, H, W].
  ///   - down: [r, in] or [r, in, k, k].
  ///   - up: [out, r] or [out, r, 1, 1].
  public func callAsFunction(_ x: Tensor, down: Tensor, up: Tensor, scale: Double = 1) -> Tensor {
    let down = down.to(dtype: x.dtype)
    let up = up.to(dtype: x.dtype)
    // The scale goes where the data is thinnest.
    func scaled(_ low: Tensor) -> Tensor { scale == 1 ? low : low * scale }
    guard let convolution else { return scaled(x.linear(down)).linear(up) }
    return scaled(x.conv2d(down, stride: convolution.stride, padding: convolution.padding)).conv2d(up)
  }
}

/// Adds weight · ΔW x to the output of a layer.
public final class LowRankBranch: Branch {
  public let factors: LowRankFactors
  /// How strongly the adapter acts; 1 is as trained.
  public var weight: Double
  private let product: LowRankProduct

  /// Brings frozen factors to the type and device of the layer. Factors that are being trained are used as they are, in
  /// their own precision, so that every use sees the optimizer's last update.
  public init(_ factors: LowRankFactors, for projection: any Projection, weight: Double = 1) {
    let isTrained = factors.down.requiresGrad || factors.up.requiresGrad
    self.factors =
      isTrained ? factors : factors.to(dtype: projection.dtype, device: projection.device)
    self.weight = weight
    product = LowRankProduct(for: projection)
  }

  public func callAsFunction(_ x: Tensor) -> Tensor {
    product(x, down: factors.down, up: factors.up, scale: factors.scale * weight)
  }
}

/// Branches and the layers they belong to. Before `attach()` and after `detach()` the model computes exactly what it did
/// without them.
public final class Attachment {
  public typealias Place = (projection: any Projection, branch: any Branch)

  public let places: [Place]
  public private(set) var isAttached = false

  public init(_ places: [Place]) { self.places = places }

  /// A branch for every layer of an adapter.
  ///
  /// - Parameter projections: the layers of the model by full path; those of more components than the adapter has are fine.
  /// - Throws: `AttachmentError` for a layer that the model does not have or that has another shape.
  public convenience init(_ adapter: Adapter, weight: Double = 1, to projections: Projections) throws {
    self.init(
      try adapter.factors.map { path, factors in
        guard let projection = projections[path] else { throw AttachmentError.noSuchLayer(path) }
        guard projection.weightShape == factors.weightShape else {
          throw AttachmentError.shape(path, adapter: factors.weightShape, model: projection.weightShape)
        }
        return (projection, LowRankBranch(factors, for: projection, weight: weight))
      })
  }

  /// Adds the branches to the model's layers until `detach`; attached ones stay as they are. `whileAttached` does both.
  public func attach() {
    guard !isAttached else { return }
    for place in places { place.projection.branches.append(place.branch) }
    isAttached = true
  }

  /// Takes its own branches off the layers again, whatever others they have.
  public func detach() {
    guard isAttached else { return }
    for place in places { place.projection.branches.removeAll { $0 === place.branch } }
    isAttached = false
  }

  /// Runs `body` with the branches on the model: D ⊕ L in the ZipLoRA paper's notation.
  ///
  /// A backward pass through checkpointed parts of the model runs them again, so it belongs inside, too.
  public func whileAttached<Result>(_ body: () throws -> Result) rethrows -> Result {
    attach()
    defer { detach() }
    return try body()
  }
}

/// Why an adapter cannot branch from a model.
public enum AttachmentError: Error, CustomStringConvertible, Equatable {
  case noSuchLayer(String)
  case shape(String, adapter: [Int], model: [Int])

  public var description: String {
    switch self {
    case .noSuchLayer(let path):
      "the adapter changes \(path), which the model does not have; was it made for another base model?"
    case .shape(let path, let adapter, let model):
      "the adapter changes \(path) as a weight \(adapter), the model's is \(model); was it made for another base model?"
    }
  }
}

extension LowRankFactors {
  /// Factors to be trained: ΔW = 0 at the start, and both halves ask for gradients.
  ///
  /// down is uniform in ±1/√(inputs of one output), which is Kaiming's bound at a = √5; up is zero (peft:
  /// tuners/lora/layer.py reset_lora_parameters).
  public static func trainable(
    for projection: any Projection, rank: Int, alpha: Double, generator: Generator, dtype: DType = .float32
  ) -> LowRankFactors {
    let shape = projection.weightShape
    let device = projection.device
    let bound = 1 / Double(shape.dropFirst().reduce(1, *)).squareRoot()
    let uniform = Tensor.rand([rank] + shape.dropFirst(), generator: generator) * (2 * bound) - bound
    return LowRankFactors(
      down: uniform.to(dtype: dtype, device: device).requiringGrad(),
      up: Tensor.zeros([shape[0], rank] + shape.dropFirst(2).map { _ in 1 }, dtype: dtype, device: device).requiringGrad(),
      alpha: alpha)
  }
}

extension Adapter {
  /// A new adapter on the layers at `paths`, to be trained.
  ///
  /// - Throws: `AttachmentError.noSuchLayer`, and `RankError` for a rank below 1 or an alpha that is not a positive number.
  public static func trainable(
    at paths: [String], of projections: Projections, rank: Int, alpha: Double, generator: Generator,
    dtype: DType = .float32
  ) throws -> Adapter {
    guard rank >= 1, alpha.isFinite, alpha > 0 else { throw RankError(rank: rank, alpha: alpha) }
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    for path in paths {
      guard let projection = projections[path] else { throw AttachmentError.noSuchLayer(path) }
      factors[path] = .trainable(for: projection, rank: rank, alpha: alpha, generator: generator, dtype: dtype)
    }
    return Adapter(factors: factors)
  }

  /// A copy to be trained on from where this one is, in float32: whatever memory the halves are in, such as a mapped file, stays as it
  /// is.
  public func trainable(on device: Device) -> Adapter {
    func copy(_ half: Tensor) -> Tensor {
      half.detached().to(dtype: .float32, device: device).cloned().requiringGrad()
    }
    return Adapter(
      factors: factors.mapValues { LowRankFactors(down: copy($0.down), up: copy($0.up), alpha: $0.alpha) }, metadata: metadata)
  }

  /// The tensors that training changes: down and up of each layer, in order.
  public var parameters: [Tensor] { factors.values.flatMap { [$0.down, $0.up] } }
}

/// A rank or alpha that no adapter can have.
public struct RankError: Error, CustomStringConvertible, Equatable {
  public let rank: Int
  public let alpha: Double

  public var description: String {
    rank < 1 ? "rank \(rank): expected 1 or more" : "alpha \(alpha): expected a number above 0"
  }
}
