// A conformance is as visible as its type, so these imports are public.
public import ArgumentParser
public import Diffusion
internal import LoRA
public import Merging
public import Torch
public import Toybox
public import Workflows

/// The name of a dialect that LoRA files are written in.
struct DialectName: RawRepresentable, ExpressibleByArgument {
  let rawValue: String

  init?(rawValue: String) {
    guard Dialects.written.contains(where: { $0.name == rawValue }) else { return nil }
    self.rawValue = rawValue
  }

  static let kohya = DialectName(rawValue: Dialects.kohya.name)!

  static var allValueStrings: [String] { Dialects.written.map(\.name) }
}

/// The types that a model can compute in and a file can hold.
enum Precision: String, CaseIterable, ExpressibleByArgument {
  case float32, bfloat16, float16

  var dtype: DType {
    switch self {
    case .float32: .float32
    case .bfloat16: .bfloat16
    case .float16: .float16
    }
  }
}

extension LoRACombination: ExpressibleByArgument {}

extension Device: ExpressibleByArgument {
  public init?(argument: String) { self.init(named: argument) }
}

extension Sampler: ExpressibleByArgument {
  public init?(argument: String) {
    guard let found = try? Self.named(argument) else { return nil }
    self = found
  }

  public static var allValueStrings: [String] { all.map(\.name) }
}

extension NoiseSchedule.PredictionType: ExpressibleByArgument {}
extension NoiseSchedule.TimestepSpacing: ExpressibleByArgument {}
extension LearningRate.Shape: ExpressibleByArgument {}
extension BaseArchitecture: ExpressibleByArgument {}
extension ZipOptions.Method: ExpressibleByArgument {}
extension ZipOptimizer: ExpressibleByArgument {}
extension ZipObjective.Fidelity: ExpressibleByArgument {}
extension ZipObjective.Similarity: ExpressibleByArgument {}
