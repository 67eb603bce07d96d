internal import Torch

/// Runs `body` in bfloat16, with weights in float32, where the processor has instructions for it; elsewhere in float32.
func mixedPrecision<Result>(_ body: () throws -> Result) rethrows -> Result {
  try Engine.computes(in: .bfloat16) ? autocast(to: .bfloat16, body) : body()
}
