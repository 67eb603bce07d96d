internal import OrderedCollections
internal import Torch

/// One update: the objective's terms before it and the coefficients after it.
public struct ZipRecord: Codable, Sendable, Equatable {
  /// How many updates have been made, this one included.
  public let step: Int
  /// The fidelity term of each LoRA: subject, style; and of all together, where that is asked for.
  public let fidelity: [Double]
  /// The similarity term, without λ.
  public let similarity: Double
  /// All terms together.
  public let objective: Double
  /// Mean over layers (and pairs of LoRAs) of |cos(m_c, m_s)|.
  public let cosine: Double
  /// The mean coefficient of each LoRA, 1 where it has none. All falling together is a collapse.
  public let means: [Double]
  /// The share of coefficients that are farther than 0.01 from where they started.
  public let changed: Double
  /// The largest distance of a coefficient from where it started.
  public let farthest: Double
  public let seconds: Double

  /// Whether the update has left numbers: the last one has no next one to notice.
  var isFinite: Bool { (fidelity + means + [objective, cosine, farthest]).allSatisfy(\.isFinite) }

  init(
    step: Int, loras: Int, fidelity: [Double], similarity: Double, lambda: Double, coefficients: MergerCoefficients,
    start: MergerCoefficients, seconds: Double
  ) {
    self.step = step
    self.fidelity = fidelity
    self.similarity = similarity
    objective = fidelity.reduce(0, +) + lambda * similarity
    self.seconds = seconds
    (cosine, means, changed, farthest) = withoutGrad {
      let cosines = coefficients.vectors.values.flatMap {
        pairs(of: Array($0.values)).map { ZipObjective.cosine($0, $1).abs() }
      }
      let joined = (0..<loras).map(coefficients.joined)
      let distances = Tensor.concatenated(
        zip(coefficients.tensors, start.tensors).map { ($0.detached() - $1.detached()).abs() })
      return (
        cosines.isEmpty ? 0 : Tensor.stacked(cosines).mean().item(), joined.map { $0?.mean().item() ?? 1 },
        (distances .> 0.01).to(dtype: .float32).mean().item(), distances.max().item()
      )
    }
  }
}

/// Where an optimisation stands.
public struct ZipProgress: Sendable {
  public let record: ZipRecord
  /// The largest number of steps.
  public let steps: Int
  /// By the last step's time.
  public let secondsLeft: Double
  /// What has become worth a warning at this step.
  public let warnings: [String]

  init(_ record: ZipRecord, of steps: Int, warnings: [String]) {
    self.record = record
    self.steps = steps
    secondsLeft = Double(steps - record.step) * record.seconds
    self.warnings = warnings
  }
}
