public import OrderedCollections

/// Named tensors, such as a safetensors file or several.
public protocol TensorCollection: AnyObject {
  /// For messages: the file or folder.
  var name: String { get }
  var keys: [String] { get }
  func shape(of key: String) -> [Int]?
  func tensor(_ key: String) throws -> Tensor

  /// For messages: what model these tensors ought to be.
  var expectation: String { get }
  /// For messages: what the file calls the tensor of that key.
  func nameInFile(_ key: String) -> String
  /// Says that the tensor of that key is not needed for now, so that the memory it was read into can be used for others.
  func release(_ key: String)
}

extension TensorCollection {
  public var expectation: String { "the model its config.json describes" }
  public func nameInFile(_ key: String) -> String { key }
  public func release(_ key: String) {}
}

/// How a parameter starts when it is not loaded.
public enum Initialization: Sendable {
  case zeros
  case ones
  /// Uniform in ±bound. PyTorch's Linear and Conv2d use 1/√(inputs of one output).
  case uniform(bound: Double)
  case normal(deviation: Double)
}

/// The parameters and projections of one model, in the order of its construction, and where they come from.
///
/// Layers ask for their weights by explicit path (`weights / "to_q"`), so a checkpoint key stands beside the property
/// that holds it and nothing is found by reflection. `finish()` reports everything that did not fit at once.
public final class WeightStore {
  public enum Source {
    /// Every key must be there, with its shape, and every key there must be used.
    case collection(any TensorCollection)
    /// Fresh weights.
    case random(Generator)
    /// Uninitialised memory: names and shapes only.
    case shapes
  }

  private let source: Source
  public let dtype: DType
  public let device: Device
  /// Every parameter by its full path.
  public var parameters: OrderedDictionary<String, Tensor> { held.mapValues { $0() } }
  private var held: OrderedDictionary<String, () -> Tensor> = [:]
  /// Every linear and convolution layer by its path: the places that an adapter can branch from.
  public private(set) var projections: OrderedDictionary<String, any Projection> = [:]

  private let available: Set<String>
  private var missing: [String] = []
  private var misshapen: [String] = []
  private var failure: (any Error)?

  public init(_ source: Source, dtype: DType = .float32, device: Device = .cpu) {
    self.source = source
    self.dtype = dtype
    self.device = device
    available = if case .collection(let collection) = source { Set(collection.keys) } else { [] }
  }

  /// The root path.
  public var root: Weights { Weights(store: self, path: "") }

  /// A parameter as it starts. Who keeps it says so with `hold`.
  fileprivate func parameter(_ path: String, _ shape: [Int], _ initialization: Initialization) -> Tensor {
    let source = make(path, shape, initialization)
    let tensor = source.to(dtype: dtype, device: device)
    // A converted tensor needs its file no more: what is loaded in another type takes memory once.
    if case .collection(let collection) = self.source, source.dtype != dtype || source.device != device {
      collection.release(path)
    }
    return tensor
  }

  fileprivate func hold(_ path: String, _ parameter: @escaping () -> Tensor) {
    precondition(held[path] == nil, "two layers ask for \(path)")
    held[path] = parameter
  }

  private func make(_ path: String, _ shape: [Int], _ initialization: Initialization) -> Tensor {
    switch source {
    case .shapes: return Tensor.empty(shape, dtype: dtype, device: device)
    case .random(let generator): return initialization.tensor(shape, generator)
    case .collection(let collection):
      do {
        guard let found = collection.shape(of: path) else {
          missing.append("\(collection.nameInFile(path)) \(shape)")
          return Tensor.zeros(shape)
        }
        guard found == shape else {
          misshapen.append("\(collection.nameInFile(path)): found \(found), expected \(shape)")
          return Tensor.zeros(shape)
        }
        return try collection.tensor(path)
      } catch {
        failure = failure ?? error
        return Tensor.zeros(shape)
      }
    }
  }

  fileprivate func register(_ projection: any Projection, _ path: String) { projections[path] = projection }

  /// Whether the checkpoint has this key; for layers that exist in some versions of a checkpoint only.
  fileprivate func has(_ path: String) -> Bool { available.contains(path) }

  /// Checks that model and checkpoint fit each other exactly.
  ///
  /// - Parameter ignoring: keys of buffers that older checkpoints carry, such as `position_ids`.
  /// - Throws: `LoadingError` with every missing, unused and misshapen key, or the first error of reading.
  public func finish(ignoring: (String) -> Bool = { _ in false }) throws {
    if let failure { throw failure }
    guard case .collection(let collection) = source else { return }
    let unused = collection.keys.filter { held[$0] == nil && !ignoring($0) }.sorted()
    // A misshapen key has a parameter, so it is not among the unused.
    if missing.isEmpty && misshapen.isEmpty && unused.isEmpty { return }
    throw LoadingError(
      source: collection.name, expectation: collection.expectation, missing: missing, unused: unused, misshapen: misshapen)
  }
}

/// A place in the tree of weights of a model.
public struct Weights {
  public let store: WeightStore
  public let path: String

  public static func / (weights: Weights, name: String) -> Weights {
    Weights(store: weights.store, path: weights.path.isEmpty ? name : "\(weights.path).\(name)")
  }

  public static func / (weights: Weights, index: Int) -> Weights { weights / "\(index)" }

  /// The parameter of that name at this place.
  public func parameter(_ name: String, _ shape: [Int], _ initialization: Initialization) -> Tensor {
    let path = (self / name).path
    let parameter = store.parameter(path, shape, initialization)
    store.hold(path) { parameter }
    return parameter
  }

  /// The weight of a convolution, of which its layer may keep a copy in another order alone.
  func convolutionWeight(
    _ name: String, _ shape: [Int], _ initialization: Initialization, stride: Int, padding: Int
  ) -> ConvolutionWeight {
    let path = (self / name).path
    let weight = ConvolutionWeight(store.parameter(path, shape, initialization), stride: stride, padding: padding)
    store.hold(path) { weight.plain }
    return weight
  }

  /// Whether a checkpoint is being read and has this key.
  public func has(_ name: String) -> Bool { store.has((self / name).path) }

  func register(_ projection: any Projection) { store.register(projection, path) }
}

/// What did not fit between a model and a checkpoint.
public struct LoadingError: Error, CustomStringConvertible {
  public let source: String
  /// The model.
  public let expectation: String
  public let missing: [String]
  public let unused: [String]
  public let misshapen: [String]

  public var description: String {
    func list(_ title: String, _ keys: [String]) -> String? {
      guard !keys.isEmpty else { return nil }
      let shown = keys.prefix(20).map { "\n    \($0)" }.joined()
      let more = keys.count > 20 ? "\n    … and \(keys.count - 20) more" : ""
      return "  \(title) (\(keys.count)):\(shown)\(more)"
    }
    let parts = [list("missing", missing), list("not used by the model", unused), list("of another shape", misshapen)]
    return "\(source) does not fit \(expectation):\n" + parts.compactMap { $0 }.joined(separator: "\n")
      + "\n  Are these the weights of that model?"
  }
}

extension Initialization {
  fileprivate func tensor(_ shape: [Int], _ generator: Generator) -> Tensor {
    switch self {
    case .zeros: Tensor.zeros(shape)
    case .ones: Tensor.ones(shape)
    case .uniform(let bound): (Tensor.rand(shape, generator: generator) * 2 - 1) * bound
    case .normal(let deviation): Tensor.randn(shape, generator: generator) * deviation
    }
  }
}
