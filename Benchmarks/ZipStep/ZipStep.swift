public import ArgumentParser
internal import Diffusion
internal import Foundation
internal import LoRA
internal import Merging
internal import OrderedCollections
public import Torch

struct ZipStep: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ZipStepBenchmark",
    abstract: "Time and memory of a step of ZipLoRA on random weights and random LoRAs.",
    discussion: """
      A step is what 'ziplora zip' repeats: two passes of the model with one LoRA alone, two of the merged model and their \
      backward passes, and the update of the coefficients. Weights are random, so the numbers mean nothing and the work is \
      the same. Figures are only as good as the machine is idle; the load average is printed with them.
      """)

  @Option(help: ArgumentHelp("sdxl, sd15, or a folder in diffusers layout.", valueName: "name or dir"))
  var model = "sdxl"

  @Option(help: "Width of the picture in pixels; as the model was trained where none is given.")
  var width: Int?

  @Option(help: "Height of the picture in pixels.")
  var height: Int?

  @Option(help: "float32 or bfloat16.")
  var dtype: DType = .bfloat16

  @Option(help: "cpu, cuda or mps.")
  var device: Device = .cpu

  @Option(help: "Rank of both LoRAs.")
  var rank = 64

  @Option(help: "Steps to measure.")
  var steps = 3

  @Flag(help: "Compute activations again in the backward pass instead of keeping them.")
  var checkpointing = false

  @Option(help: "Threads of one operation; libtorch's choice where no number is given.")
  var threads: Int?

  @Option(help: "Seed of weights, LoRAs, latents and prompts.")
  var seed: UInt64 = 0

  func validate() throws {
    guard dtype.isFloatingPoint else { throw ValidationError("--dtype \(dtype): expected float32 or bfloat16") }
    guard device.isAvailable else { throw ValidationError("--device \(device): libtorch finds no such device") }
    guard rank > 0, steps > 0, threads ?? 1 > 0 else {
      throw ValidationError("--rank, --steps and --threads must be at least 1")
    }
  }

  func run() throws {
    if let threads { Engine.threads = threads }
    let load = ProcessFigures.loadAverage
    try withTorchErrors {
      let model = try BenchmarkModel(model, dtype: dtype, device: device, seed: seed)
      model.unet.checkpointing = checkpointing
      let size = try model.latentSize(width: width, height: height)
      let probe = RandomProbe(model, size: size)
      let zip = try ZipLoRA(try model.adapters(rank: rank), probe: probe, options: ZipOptions(steps: steps, seed: seed))
      describe(model, zip, size: size, load: load)
      try measure(zip, probe)
    }
  }

  private func describe(_ model: BenchmarkModel, _ zip: ZipLoRA, size: (height: Int, width: Int), load: Double) {
    let pixels = (width: size.width * model.pixelsPerLatent, height: size.height * model.pixelsPerLatent)
    let coefficients = zip.coefficients.tensors.reduce(0) { $0 + $1.count }
    let conditions = [
      "\(pixels.width)x\(pixels.height)", "\(dtype)", "\(device)", "\(Engine.threads) threads",
      "\(checkpointing ? "with" : "no") checkpointing", "load average \(load.rounded(to: 1))",
    ]
    print("ziplora on libtorch \(Engine.version): \(model.name), rank \(rank)")
    print("  \(zip.plan.zipped.count) layers, \(coefficients) coefficients")
    print("  \(conditions.joined(separator: ", "))")
    print("  after set-up: peak memory \(ProcessFigures.peakMemory.gibibytes)")
  }

  private func measure(_ zip: ZipLoRA, _ probe: RandomProbe) throws {
    var seconds: [Double] = []
    var forward: [Double] = []
    for step in 1...steps {
      probe.seconds = 0
      seconds.append(try zip.step().seconds)
      forward.append(probe.seconds)
      let share = (100 * forward.last! / seconds.last!).rounded(to: 0)
      print("  step \(step): \(seconds.last!.seconds), 4 forward passes \(forward.last!.seconds) (\(share) %)")
      fflush(nil)
    }
    let range = "\(seconds.min()!.rounded(to: 2)) to \(seconds.max()!.rounded(to: 2))"
    print(
      "  median \(seconds.median.seconds) (\(range)), forward passes \(forward.median.seconds), "
        + "peak memory \(ProcessFigures.peakMemory.gibibytes)")
  }
}

extension DType: ExpressibleByArgument {
  public init?(argument: String) { self.init(named: argument) }
}

extension Device: ExpressibleByArgument {
  public init?(argument: String) { self.init(named: argument) }
}
