internal import Diffusion
internal import OrderedCollections
internal import Torch
public import Training

/// `ziplora load`, for developers: how long it takes to read a base model (Scripts/measure_loading.py).
public struct LoadModel: Workflow {
  public static let name = "load"

  public struct Outcome: Codable, Sendable, Equatable {
    public let seconds: Double
    public let parameters: Int
  }

  public var base: BaseModel

  public init(base: BaseModel) { self.base = base }

  public func validate() throws { try base.validate() }

  public func perform(progress: ProgressHandler) throws -> Outcome {
    let base = try base.locate(progress: progress)
    let began = ContinuousClock.now
    let parameters = try base.load().stores.values.flatMap(\.parameters.values)
    // Weights in the type of the file are only mapped until they are used.
    try withTorchErrors { for tensor in parameters { _ = tensor.sum() } }
    return Outcome(
      seconds: (ContinuousClock.now - began) / .seconds(1), parameters: parameters.map(\.count).reduce(0, +))
  }
}
