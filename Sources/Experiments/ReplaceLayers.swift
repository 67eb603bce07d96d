internal import LoRA
internal import OrderedCollections
internal import Training
internal import Workflows

/// A merged LoRA with some layers as another way to merge has made them: which layers cause what the two do differently?
struct ReplaceLayers: Workflow {
  static let name = "replace-layers"

  /// What the LoRAs are for: module paths are this model's.
  var base: String
  var lora: String
  /// Where the replaced layers come from: a LoRA with the same layers.
  var other: String
  /// Parts of module paths, such as `down_blocks.1` or `attn2`.
  var layers: [String]
  var output: AdapterOutput

  func validate() throws { try output.validate() }

  /// - Returns: how many layers were replaced.
  func perform(progress: ProgressHandler) throws -> Int {
    let began = ContinuousClock.now
    let sources = try AdapterFiles([lora, other], base: base, progress: progress)
    var adapter = sources.adapters[0]
    let replaced = OrderedSet(layers.flatMap(adapter.layers(under:)))
    guard !replaced.isEmpty else {
      throw SettingError(
        "\(lora): no layer lies under \(layers.joined(separator: ", ")); expected parts of paths such as down_blocks.1")
    }
    for path in replaced {
      guard let factors = sources.adapters[1].factors[path] else {
        throw SettingError("\(other): does not change \(path), which was to be taken from it")
      }
      adapter.factors[path] = factors
    }
    // What it was merged of no longer holds for all layers.
    adapter.metadata = [:]
    let files = try sources.write(adapter, to: output)
    try RunRecord(self, inputs: sources.inputs, outputs: files, began: began)
      .write(to: Paths.record(of: output.path), overwrite: true)
    return replaced.count
  }
}
