public import Diffusion
public import LoRA
public import OrderedCollections
public import Torch

/// How much memory passes with gradients take, and what is computed again so that they fit.
///
/// Found by passes on two small pictures: what a U-Net keeps grows with the number of latents along a straight line. Bytes are
/// those of tensors (`MemoryMeter`), beside what the process held before.
public struct MemoryPlan: Sendable, Equatable {
  /// What the process will hold at most, in bytes; of a GPU's memory, what the model and its passes take.
  public let peak: Int
  /// What it would hold with everything computed again.
  public let least: Int
  /// Bytes of the tensors that a pass with gradients will hold at most.
  public let tensors: Int
  public let checkpointing: GradientCheckpointing
  /// Pieces of the U-Net, and how many of them are computed again.
  public let pieces: Int
  public let again: Int

  /// - Parameters:
  ///   - unet: its `checkpointing` and `watcher` are left as they were.
  ///   - projections: of the whole model.
  ///   - latents: height and width of the picture that it is for.
  ///   - budget: bytes that the process may hold; where all of them are not enough, everything is computed again.
  ///   - progress: hears of each pass before it begins; the last report is left to who knows what came of them.
  ///   - kept: bytes that stay while passes without gradients are run. It is told a size for passes of its own.
  ///   - discard: forgets the gradients of a pass.
  ///   - pass: the loss of a pass on latents of another height and width.
  /// - Throws: what `pass` throws, and `TorchError`; `Interrupted` when the handler answers false.
  public init(
    _ unet: UNet2DConditionModel, projections: Projections, latents: (height: Int, width: Int), budget: Int,
    progress: ProgressHandler = { _ in true }, kept: (_ height: Int, _ width: Int) throws -> Int, discard: () -> Void,
    pass: (_ height: Int, _ width: Int) throws -> Tensor
  ) throws {
    let target = latents.height * latents.width
    let isOnCPU = projections.values.allSatisfy { $0.device == .cpu }
    // Weights for the gradients of convolutions.
    let turned = projections.reduce(0) { bytes, place in
      bytes + (Component(of: place.key) == .unet ? (place.value as? Conv2d)?.bytesToCome ?? 0 : 0)
    }
    // Sides that every level of a U-Net can halve. A picture that is no larger is measured as it is.
    let sides = [16, 32].map { (min($0, latents.height), min($0, latents.width)) }
    let isSmall = target <= sides[1].0 * sides[1].1
    var (done, timer) = (0, StepTimer())
    func tell() throws {
      timer.tick()
      let report = ProgressReport(
        phase: Self.phase, step: done, total: Self.passes, secondsPerStep: timer.secondsPerStep)
      try report.send(to: progress)
      done += 1
    }
    defer { discard() }
    let (kept, before, gradients, first, second) = try withoutAdaptingConvolutions {
      // First, as it also sets memory up.
      try tell()
      let kept = try kept(sides[1].0, sides[1].1)
      // Samples find all gradients of weights in place, as these outweigh what grows when pictures are small.
      try tell()
      let gradients = try MemoryMeter.watching { meter in
        try withTorchErrors { try pass(sides[0].0, sides[0].1).backward() }
        return meter.held
      }
      let before = isOnCPU ? ProcessMemory.resident.map { $0 - gradients } : nil
      let weights = projections.values.reduce(0) { $0 + $1.weightCount * $1.dtype.byteCount }
      let first = try Sample(unet, projections: projections, latents: sides[0], tell: tell, pass)
      return (
        kept, before ?? weights, gradients, first,
        try Sample(unet, projections: projections, latents: isSmall ? latents : sides[1], tell: tell, pass)
      )
    }
    let expected = Expectation(
      first, second, gradients: gradients, isSmall ? nil : Growth(from: first.latents, second.latents, to: target))
    let all = Set(second.pieces.map(\.number))
    func peak(_ again: Set<Int>) -> Int {
      // A pass without gradients holds less than one that computes everything again.
      before
        + max(turned + Int(Self.heap * Double(expected.peak(again))), Int(Self.heap * Double(kept + expected.peak(all))))
    }
    var chosen: Set<Int> = []
    for piece in expected.bySaving where peak(chosen) > budget { chosen.insert(piece) }
    self.peak = max(peak(chosen), isOnCPU ? ProcessMemory.peak : 0)
    least = peak(all)
    tensors = expected.peak(chosen)
    checkpointing = chosen == all ? .all : GradientCheckpointing(pieces: chosen)
    (pieces, again) = (all.count, chosen.count)
  }

  /// What the work is called in reports of progress.
  public static let phase = "planning memory"
  /// Passes of the model that it takes.
  public static let passes = 6

  /// What a heap takes for tensors of all sizes that come and go, per byte of them (tcmalloc's on SDXL .8 at 512 pixels, as it had room from
  /// the passes that are measured, and 1 at 1024).
  private static let heap = 1.1

  /// Where a quantity that was seen at two numbers of latents is at a third.
  private struct Growth {
    private let share: Double
    private let ratio: Double

    init(from first: Int, _ second: Int, to target: Int) {
      share = first == second ? 0 : Double(target - second) / Double(second - first)
      ratio = Double(target) / Double(second)
    }

    /// Of what does not grow at first, and later does in proportion.
    func atMost(_ first: Int, _ second: Int) -> Int { max(first, Int(Double(second) * ratio)) }

    func callAsFunction(_ first: Int, _ second: Int) -> Int { second + Int(Double(second - first) * share) }
  }

  /// What a small pass held.
  fileprivate struct Sample {
    struct Piece {
      let number: Int
      /// Bytes that it leaves for the backward pass, its result among them.
      var kept: Int
      /// Bytes of its result.
      var output: Int
      /// What it costs to compute it again: the multiplications of its layers, were all of them asked at every latent. A
      /// clock would choose other pieces whenever the machine is busy.
      let multiplications: Int
    }

    /// In the order in which they ran; a loss of several passes has each of them several times.
    let pieces: [Piece]
    /// Bytes that are kept outside of pieces.
    let rest: Int
    /// The most beyond all that is kept.
    let work: Int
    /// The same with every piece computed again.
    let workAgain: Int
    let latents: Int

    init(
      _ unet: UNet2DConditionModel, projections: Projections, latents: (height: Int, width: Int),
      tell: () throws -> Void, _ pass: (Int, Int) throws -> Tensor
    ) throws {
      func numbers(in modules: [String]) -> Int {
        let prefixes = modules.map { "\(Component.unet.path($0))." }
        return projections.reduce(0) { sum, place in
          sum + (prefixes.contains { place.key.hasPrefix($0) } ? place.value.weightCount : 0)
        }
      }
      self.latents = latents.height * latents.width
      let former = (unet.checkpointing, unet.watcher)
      defer { (unet.checkpointing, unet.watcher) = former }
      unet.checkpointing = .none
      try tell()
      let found = try MemoryMeter.watching { meter in
        var found: [Piece] = []
        unet.watcher = { piece, run in
          let before = meter.held
          let result = run()
          found.append(
            Piece(
              number: piece.number, kept: meter.held - before, output: result.byteCount,
              multiplications: numbers(in: piece.modules) * result.count / result.dim(1)))
          return result
        }
        let loss = try withTorchErrors { try pass(latents.height, latents.width) }
        let kept = meter.held
        try withTorchErrors { loss.backward() }
        return (pieces: found, kept: kept, peak: meter.peak)
      }
      unet.watcher = nil
      unet.checkpointing = .all
      try tell()
      let again = try MemoryMeter.watching { meter in
        try withTorchErrors { try pass(latents.height, latents.width).backward() }
        return meter.peak
      }
      pieces = found.pieces
      rest = found.kept - pieces.reduce(0) { $0 + $1.kept }
      work = found.peak - found.kept
      workAgain = max(work, again - rest - pieces.mostHeld(again: Set(pieces.map(\.number))))
    }
  }

  /// What a pass of the wanted size will hold.
  private struct Expectation {
    private let pieces: [Sample.Piece]
    private let rest: Int
    private let work: Int
    private let workAgain: Int

    init(_ first: Sample, _ second: Sample, gradients: Int, _ growth: Growth?) {
      func at(_ quantity: (Sample) -> Int) -> Int { growth?(quantity(first), quantity(second)) ?? quantity(second) }
      func atMost(_ quantity: (Sample) -> Int) -> Int {
        growth?.atMost(quantity(first), quantity(second)) ?? quantity(second)
      }
      pieces = second.pieces.indices.map { index in
        let piece = second.pieces[index]
        return .init(
          number: piece.number, kept: at { $0.pieces[index].kept }, output: at { $0.pieces[index].output },
          multiplications: piece.multiplications)
      }
      rest = gradients + at { $0.rest }
      (work, workAgain) = (atMost { $0.work }, atMost { $0.workAgain })
    }

    func peak(_ again: Set<Int>) -> Int {
      rest + pieces.mostHeld(again: again, work: work, workAgain: workAgain)
    }

    /// Pieces that save anything, those first that save most for what it costs to compute them again.
    var bySaving: [Int] {
      var gains: OrderedDictionary<Int, (bytes: Int, multiplications: Int)> = [:]
      for piece in pieces {
        gains[piece.number, default: (0, 1)].bytes += piece.kept - piece.output
        gains[piece.number]!.multiplications += piece.multiplications
      }
      func gain(_ number: Int) -> Double { Double(gains[number]!.bytes) / Double(gains[number]!.multiplications) }
      return gains.keys.filter { gain($0) > 0 }.sorted { (gain($0), $1) > (gain($1), $0) }
    }
  }
}

extension [MemoryPlan.Sample.Piece] {
  /// The backward pass goes from the last piece to the first. When it reaches a piece, those after it are gone, those before
  /// it are kept or are their results only, and it is there as a whole, beside what it takes to pass back through it.
  fileprivate func mostHeld(again: Set<Int>, work: Int = 0, workAgain: Int = 0) -> Int {
    var (kept, most) = (0, 0)
    for piece in self {
      let isAgain = again.contains(piece.number)
      most = Swift.max(most, kept + piece.kept + (isAgain ? workAgain : work))
      kept += isAgain ? Swift.min(piece.output, piece.kept) : piece.kept
    }
    return most
  }
}
