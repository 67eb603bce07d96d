internal import LoRA
internal import Merging
public import Training

/// `ziplora reweight`: the LoRAs that a file was zipped of act with other weights.
public struct ReweightAdapter: Workflow {
  public static let name = "reweight"

  public struct Outcome: Sendable {
    public let lora: String
    /// The LoRAs with their weights before and now.
    public let inputs: [(name: String, before: Double, now: Double)]
  }

  public var lora: String
  /// Of each LoRA, in the order in which they were zipped; those that are missing or nil stay as they are.
  public var weights: [Double?]
  public var output: AdapterOutput

  public init(lora: String, weights: [Double?], output: AdapterOutput) {
    self.lora = lora
    self.weights = weights
    self.output = output
  }

  public func validate() throws {
    guard weights.contains(where: { $0 != nil }) else {
      throw SettingError("no weight is given; expected --subject-weight, --style-weight or --lora-weight")
    }
    for (index, weight) in weights.enumerated() {
      guard let weight else { continue }
      try Demand.finite(weight, index < 2 ? ["subject-weight", "style-weight"][index] : "lora-weight")
    }
    try output.validate()
  }

  public func perform(progress: ProgressHandler) throws -> Outcome {
    let began = ContinuousClock.now
    let record = Paths.record(of: output.path)
    try Paths.checkWritable([output.path, record], overwrite: output.overwrite)
    let source = try AdapterFiles([lora], base: nil, progress: progress)
    try source.check(output)
    let adapter = source.adapters[0]
    let reweighted: Adapter
    let before: MergeShares
    do {
      before = try MergeShares(metadata: adapter.metadata)
      let count = before.inputs.count
      if weights.count > count {
        throw SettingError(
          "--lora-weight: found \((weights.count - 2).counted("weight")) for further LoRAs; \(lora) was made of \(count), and has "
            + (count == 2 ? "none" : "\(count - 2)"))
      }
      if zip(before.inputs, weights).allSatisfy({ ($1 ?? $0.weight) == 0 }) && weights.count == count {
        throw SettingError(
          "all LoRAs have weight 0, so that nothing of them would be left; expected another weight for one at least")
      }
      let others = Array<Double?>(repeating: nil, count: max(0, before.inputs.count - weights.count))
      reweighted = try adapter.reweighted(weights + others)
    } catch let error as MergeError {
      throw SettingError("\(lora): \(error)")
    }
    let files = try source.write(reweighted, to: output)
    try RunRecord(self, inputs: source.inputs, outputs: files, began: began).write(to: record, overwrite: output.overwrite)
    let now = try MergeShares(metadata: reweighted.metadata)
    return Outcome(
      lora: output.path, inputs: zip(before.inputs, now.inputs).map { ($0.name, $0.weight, $1.weight) })
  }
}
