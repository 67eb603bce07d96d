internal import LoRA
internal import OrderedCollections
internal import Torch

/// ΔW = Σ_k w_k ΔW_k: what loading several LoRAs at once does, as one exact low-rank file
/// of rank Σ r_k (PEFT calls it cat).
///
/// Factors are put beside each other, not added: (B_1 + B_2)(A_1 + A_2) would have cross terms (PEFT's and sd-scripts'
/// linear merges have them).
public struct DirectMerge: MergeMethod {
  public var name: String { "direct" }
  public var summary: String { "adds the LoRAs up as they are, exactly; ranks add up" }
  public var reference: String { "https://arxiv.org/abs/2106.09685" }

  public init() {}

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    try checkLayers(of: inputs)
    // A LoRA of weight 0 takes no part.
    let acting = inputs.map { $0.weight == 0 ? MergeInput($0.name, Adapter(factors: [:]), weight: 0) : $0 }
    let plan = try MergePlan(acting, scope: nil)
    // Coefficients of one everywhere, so that the report shows how much the layers interfere.
    let ones = plan.coefficients(for: acting)
    return try withTorchErrors {
      var layers: [MergeReport.Layer] = []
      let adapter = try ones.zipped(inputs) { path, done, count in
        try context.layers(done, count)
        if let vectors = ones.vectors[path] { layers.append(.init(path, inputs, vectors)) }
      }
      try context.layers(adapter.factors.count, adapter.factors.count)
      let dropped = SharedLayer.paths(of: inputs).filter { adapter.factors[$0] == nil }
      return MergeResult(
        adapter: adapter,
        report: MergeReport(method: name, inputs: inputs, plan: plan, layers: layers, dropped: Array(dropped)))
    }
  }
}
