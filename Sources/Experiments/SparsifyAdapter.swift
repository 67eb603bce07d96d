internal import LoRA
internal import Merging
internal import Torch
internal import Training
internal import Workflows

/// A LoRA without the smallest elements of each layer. The result is of full rank: for models of Toybox's size.
struct SparsifyAdapter: Workflow {
  static let name = "sparsify"

  var input: AdapterInput
  /// The share of elements that become zero.
  var sparsity: Double
  var output: AdapterOutput

  func validate() throws {
    try input.validate()
    try output.validate()
    guard sparsity >= 0, sparsity < 1 else { throw SettingError("sparsity", sparsity, expected: "a share from 0 on, below 1") }
  }

  func perform(progress: ProgressHandler) throws -> AdapterRewriting {
    let began = ContinuousClock.now
    let content = try input.read(progress: progress)
    let thinned = withoutGrad { content.reading.adapter.keepingLargest(density: 1 - sparsity) }
    let result = try output.write(thinned, of: content, reductions: [])
    try RunRecord(self, inputs: content.inputs, outputs: result.files, began: began)
      .write(to: Paths.record(of: output.path), overwrite: true)
    return result
  }
}
