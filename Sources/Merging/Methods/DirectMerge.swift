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
    // Coefficients of one everywhere, so that the report shows how much the layers interfere.
    let plan = try MergePlan(inputs, scope: nil)
    let ones = plan.coefficients(for: inputs)
    return MergeResult(
      adapter: ones.zipped(inputs),
      report: MergeReport(method: name, inputs: inputs, plan: plan, coefficients: ones))
  }
}
