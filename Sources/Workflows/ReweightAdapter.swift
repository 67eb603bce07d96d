internal import LoRA
internal import Merging
internal import OrderedCollections
public import Training

/// Some layers of a LoRA and how strongly they act beside what they do.
public struct LayerWeight: Codable, Sendable, Equatable {
  /// Of the layers' paths, whole names: `up_blocks.0.attentions.1`.
  public var part: String
  public var weight: Double

  public init(_ part: String, weight: Double) {
    self.part = part
    self.weight = weight
  }

  /// Reads `PART=WEIGHT`.
  ///
  /// - Throws: `SettingError` for anything else.
  public init(argument: String) throws(SettingError) {
    let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2, let weight = Double(parts[1]) else {
      throw SettingError("\"\(argument)\": expected a part of layers' paths and a number, such as up_blocks.0.attentions.1=0.5")
    }
    self.init(parts[0], weight: weight)
  }
}

/// `ziplora reweight`: the LoRAs that a file was zipped of, or some of its layers, act with other weights.
public struct ReweightAdapter: Workflow {
  public static let name = "reweight"

  public struct Outcome: Sendable {
    public let lora: String
    /// The LoRAs with their weights before and now; none of a file of one alone.
    public let inputs: [(name: String, before: Double, now: Double)]
    /// What was said of layers, and how many that holds for.
    public let layers: [(weight: LayerWeight, count: Int)]
  }

  public var lora: String
  /// Of each LoRA, in the order in which they were zipped; those that are missing or nil stay as they are.
  public var weights: [Double?]
  /// Of a layer under several of these parts the last one holds.
  public var layers: [LayerWeight]
  /// What the file is for, where layers are to have the names of a base that is not known.
  public var base: String?
  public var output: AdapterOutput

  public init(
    lora: String, weights: [Double?] = [], layers: [LayerWeight] = [], base: String? = nil, output: AdapterOutput
  ) {
    self.lora = lora
    self.weights = weights
    self.layers = layers
    self.base = base
    self.output = output
  }

  public func validate() throws {
    guard !layers.isEmpty || reweightsLoRAs else {
      throw SettingError("no weight is given; expected --subject-weight, --style-weight, --lora-weight or --layer-weight")
    }
    for layer in layers { try Demand.finite(layer.weight, "layer-weight \(layer.part):") }
    for (index, weight) in weights.enumerated() {
      guard let weight else { continue }
      try Demand.finite(weight, index < 2 ? ["subject-weight", "style-weight"][index] : "lora-weight")
    }
    try output.validate()
  }

  private var reweightsLoRAs: Bool { weights.contains { $0 != nil } }

  public func perform(progress: ProgressHandler) throws -> Outcome {
    let began = ContinuousClock.now
    let record = Paths.record(of: output.path)
    try Paths.checkWritable([output.path, record], overwrite: output.overwrite)
    let source = try AdapterFiles([lora], base: base, progress: progress)
    try source.check(output)
    var adapter = source.adapters[0]
    var inputs: [(name: String, before: Double, now: Double)] = []
    if reweightsLoRAs {
      let before = adapter.metadata
      adapter = try reweightedLoRAs(adapter)
      inputs = try zip(MergeShares(metadata: before).inputs, MergeShares(metadata: adapter.metadata).inputs)
        .map { ($0.name, $0.weight, $1.weight) }
    }
    let counts = try reweightLayers(of: &adapter)
    let files = try source.write(adapter, to: output)
    try RunRecord(self, inputs: source.inputs, outputs: files, began: began).write(to: record, overwrite: output.overwrite)
    return Outcome(lora: output.path, inputs: inputs, layers: counts)
  }

  private func reweightLayers(of adapter: inout Adapter) throws -> [(weight: LayerWeight, count: Int)] {
    guard !layers.isEmpty else { return [] }
    var weights: [String: Double] = [:]
    let meant = try layers.map { layer in
      let paths = adapter.layers(under: layer.part)
      guard !paths.isEmpty else {
        throw SettingError(
          "--layer-weight \(layer.part): no layer of \(lora) lies under it; expected parts of names such as "
            + "\(adapter.factors.keys[0])\(base == nil ? "; with --base they are those of the base" : "")")
      }
      for path in paths { weights[path] = layer.weight }
      return paths
    }
    do {
      adapter = try adapter.reweighted(layers: weights)
    } catch {
      throw SettingError("\(lora): \(error)")
    }
    return zip(layers, meant).map { ($0, $1.count) }
  }

  private func reweightedLoRAs(_ adapter: Adapter) throws -> Adapter {
    do {
      let before = try MergeShares(metadata: adapter.metadata)
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
      return try adapter.reweighted(weights + others)
    } catch let error as MergeError {
      throw SettingError("\(lora): \(error)")
    }
  }
}
