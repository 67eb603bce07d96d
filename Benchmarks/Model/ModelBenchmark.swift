public import ArgumentParser
internal import Diffusion
internal import Foundation
internal import LoRA
internal import Merging
internal import OrderedCollections
public import Torch

struct ModelBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ModelBenchmark",
    abstract: "Time and memory of one kind of work on random weights and random LoRAs.",
    discussion: """
      Weights are random, so the numbers mean nothing and the work is the same. Prints JSON: seconds of each repetition after \
      the first, which sets up memory, and the largest amount of physical memory the process has held. Figures are only as \
      good as the machine is idle; the load average is among them. Scripts/bench.py runs this in turns with PyTorch.
      """)

  @Option(help: ArgumentHelp("\(Work.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "name"))
  var work = Work.zipStep

  @Option(help: ArgumentHelp("sdxl, sd15, or a folder in diffusers layout.", valueName: "name or dir"))
  var model = "sdxl"

  @Option(help: "Side of the picture in pixels; as the model was trained where none is given.")
  var size: Int?

  @Option(help: "Type of the numbers.")
  private var dtype = Precision.bfloat16

  @Option(help: "cpu, cuda or mps.")
  var device: Device = .cpu

  @Option(help: "Rank of the LoRAs.")
  var rank = 64

  @Option(help: "LoRAs that are zipped.")
  var loras = 2

  @Option(help: "Attention projections that the LoRAs change, evenly spread over the U-Net; all where no number is given.")
  var layers: Int?

  @Option(help: "Pictures of a batch.")
  var batch = 1

  @Option(help: "Sampling steps of a picture.")
  var samplingSteps = 4

  @Option(help: "Fixed draws of each LoRA for a whole zip; as ziplora zip has it where no number is given.")
  var draws: Int?

  @Option(help: "Updates of a whole zip; as ziplora zip has it where no number is given.")
  var updates: Int?

  @Option(help: "Repetitions that count.")
  var repetitions = 3

  @Flag(inversion: .prefixedNo, help: "A repetition before those that count, which sets up memory.")
  var warmUp = true

  @Flag(help: "Compute activations again in the backward pass instead of keeping them.")
  var checkpointing = false

  @Option(help: "GiB that zipping may take: its plan says what to expect, and what to compute again.")
  var memory: Double?

  @Option(help: "Threads of one operation; libtorch's choice where no number is given.")
  var threads: Int?

  @Option(help: "Seed of weights, LoRAs, latents and prompts.")
  var seed: UInt64 = 0

  func validate() throws {
    guard device.isAvailable else { throw ValidationError("--device \(device): libtorch finds no such device") }
    let counts = [rank, batch, samplingSteps, repetitions] + [threads, layers, draws].compactMap { $0 }
    guard counts.allSatisfy({ $0 > 0 }), updates ?? 0 >= 0, loras > 1 else {
      throw ValidationError(
        "--rank, --layers, --batch, --sampling-steps, --draws, --repetitions and --threads must be at least 1, --updates at least 0, "
          + "--loras at least 2")
    }
  }

  func run() throws {
    if let threads { Engine.threads = threads }
    var figures = Figures(load: ProcessFigures.loadAverage)
    try withTorchErrors {
      let work = try work.prepared(
        BenchmarkSettings(
          model: model, size: size, dtype: dtype.dtype, device: device, rank: rank, loras: loras, layers: layers, batch: batch,
          samplingSteps: samplingSteps, draws: draws, updates: updates, checkpointing: checkpointing ? .all : .none,
          memory: memory.map { Int($0 * 1073741824) }, seed: seed))
      figures.expectedPeak = work.expectedPeak
      figures.memoryAfterSetUp = ProcessMemory.peak
      let clock = ContinuousClock()
      for repetition in (warmUp ? 0 : 1)...repetitions {
        let began = clock.now
        try work.repetition()
        if repetition > 0 { figures.seconds.append((clock.now - began) / .seconds(1)) }
      }
    }
    figures.peakMemory = ProcessMemory.peak
    print(String(decoding: try JSONEncoder().encode(figures), as: UTF8.self))
  }

  /// What peers print, too.
  private struct Figures: Encodable {
    var engine = "ziplora, libtorch \(Engine.version)"
    var threads = Engine.threads
    var seconds: [Double] = []
    var memoryAfterSetUp = 0
    var peakMemory = 0
    var expectedPeak: Int?
    let load: Double
  }
}

/// What a model computes in.
private enum Precision: String, CaseIterable, ExpressibleByArgument {
  case float32, bfloat16

  var dtype: DType { self == .float32 ? .float32 : .bfloat16 }
}

extension Device: ExpressibleByArgument {
  public init?(argument: String) { self.init(named: argument) }
}
