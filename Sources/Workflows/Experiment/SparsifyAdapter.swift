internal import LoRA
internal import Merging
internal import Torch
public import Training

/// A LoRA without the smallest elements of each layer. The result is of full rank: for models of Toybox's size.
public struct SparsifyAdapter: Workflow {
  public static let name = "sparsify"

  public var input: AdapterInput
  /// The share of elements that become zero.
  public var sparsity: Double
  public var output: AdapterOutput

  public func validate() throws {
    try input.validate()
    try output.validate()
    guard sparsity >= 0, sparsity < 1 else { throw SettingError("sparsity", sparsity, expected: "a share from 0 on, below 1") }
  }

  public func run(progress: ProgressHandler) throws -> AdapterRewriting {
    try validate()
    let began = ContinuousClock.now
    let content = try input.read(progress: progress)
    let thinned = withoutGrad { content.reading.adapter.keepingLargest(density: 1 - sparsity) }
    let result = try output.write(thinned, of: content, reductions: [])
    try RunRecord(self, inputs: content.inputs, outputs: result.files, began: began)
      .write(to: Paths.record(of: output.path), overwrite: true)
    return result
  }
}
