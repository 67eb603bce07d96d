internal import Diffusion
internal import Foundation
internal import Torch
internal import Training

/// How much memory passes with gradients may take: blocks that do not fit are computed again in the backward pass.
package struct MemoryBudget {
  /// How many processes with work of their own share the machine.
  @TaskLocal package static var sharers = 1

  /// GiB that the process may hold; nil for what the machine has free.
  let gibibytes: Double?

  /// Plans, says what to expect, and sets the U-Net up.
  ///
  /// - Throws: `SettingError` where the plan takes more than was asked for, whatever is computed again; what `plan` throws.
  func plan(
    _ model: DiffusionModel, progress: ProgressHandler, processes: ProcessGroup,
    _ plan: (_ budget: Int) throws -> MemoryPlan
  ) throws {
    // Processes of one machine see the same free memory; those of several machines are careful in vain.
    let free = ProcessMemory.available / (processes.size * Self.sharers) + (ProcessMemory.resident ?? 0)
    let found = try plan(gibibytes.map { Int($0 * Self.gibibyte) } ?? free)
    let least = Self.text(found.least)
    var warnings: [String] = []
    if let gibibytes, Double(found.least) > gibibytes * Self.gibibyte {
      throw SettingError(
        "memory", gibibytes.formatted(),
        expected: """
          \(least) or more, which this takes even if every block is computed again; smaller pictures or batches take less
          """)
    } else if model.device == .cpu, found.least > free {
      warnings = ["this takes about \(least) and \(Self.text(free)) are free; smaller pictures or batches take less"]
    }
    model.unet.checkpointing = found.checkpointing
    let again = found.again == 0 ? "" : ", with \(found.again) of \(found.pieces) blocks computed again in the backward pass"
    _ = progress(
      ProgressReport(
        phase: MemoryPlan.phase, step: MemoryPlan.passes, total: MemoryPlan.passes,
        detail: "about \(Self.text(found.peak)) at most\(again)", warnings: warnings)
    )
  }

  private static let gibibyte = 1073741824.0

  /// Rounded up, so that what is asked for is enough.
  private static func text(_ bytes: Int) -> String {
    String(format: "%.1f GiB", (10 * Double(bytes) / gibibyte).rounded(.up) / 10)
  }
}
