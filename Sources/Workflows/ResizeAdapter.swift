internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
public import Training

/// `ziplora resize`: a LoRA of smaller rank that changes the model as much alike as that rank can.
public struct ResizeAdapter: Workflow {
  public static let name = "resize"

  public var input: AdapterInput
  /// The largest rank of a layer.
  public var rank: Int?
  /// The share of ‖ΔW‖² that each layer keeps at least. Exactly one of the two is given.
  public var energy: Double?
  public var output: AdapterOutput

  public init(_ input: AdapterInput, rank: Int? = nil, energy: Double? = nil, output: AdapterOutput) {
    self.input = input
    self.rank = rank
    self.energy = energy
    self.output = output
  }

  public func validate() throws {
    try input.validate()
    try output.validate()
    _ = try limit
  }

  private var limit: RankLimit {
    get throws(SettingError) {
      switch (rank, energy) {
      case (let rank?, nil):
        try Demand.atLeast(1, rank, "rank")
        return .rank(rank)
      case (nil, let energy?):
        guard energy > 0, energy <= 1 else { throw SettingError("energy", energy, expected: "a share above 0, at most 1") }
        return .energy(energy)
      default: throw SettingError("give either --rank or --energy, which say how thin the LoRA is to become")
      }
    }
  }

  public func perform(progress: ProgressHandler) throws -> AdapterRewriting {
    let began = ContinuousClock.now
    let record = Paths.record(of: output.path)
    try Paths.checkWritable([output.path, record], overwrite: output.overwrite)
    // A share is one of all that a layer is, whatever its form.
    let needed = rank.map { max($0, AdapterFile.Options().rankLimit) } ?? .max
    let content = try input.read(rankLimit: needed, progress: progress)
    try output.check(as: content.file.dialect)
    let limit = try limit
    var (adapter, reductions) = try withoutGrad {
      try content.reading.adapter.reduced(to: limit) { done, count in
        try ProgressReport.layer(done, of: count, phase: "resizing \(Paths.name(content.file.path))", to: progress)
      }
    }
    // Singular vectors mix the ranks of what was merged.
    if !reductions.isEmpty { adapter.metadata[MergeShares.metadataKey] = nil }
    let result = try output.write(adapter, of: content, reductions: Self.both(content.reading.reductions, reductions))
    try RunRecord(self, inputs: content.inputs, outputs: result.files, began: began)
      .write(to: record, overwrite: output.overwrite)
    return result
  }

  /// What layers lost when they became LoRAs and then as LoRAs, each layer once.
  private static func both(_ first: [AdapterFile.Reduction], _ second: [AdapterFile.Reduction]) -> [AdapterFile.Reduction] {
    var all = OrderedDictionary(uniqueKeysWithValues: first.map { ($0.layer, $0) })
    for later in second { all[later.layer] = all[later.layer]?.followed(by: later) ?? later }
    return Array(all.values)
  }
}
