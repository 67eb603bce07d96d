internal import LoRA

/// ZipLoRA as a row of the table of methods; see `ZipLoRA`.
public struct ZipLoRAMerge: MergeMethod {
  public let name = "ziplora"
  public let summary = "learns one coefficient for each input column of each LoRA"
  public let reference = "https://arxiv.org/abs/2311.13600"
  public let needsProbe = true
  public var options: ZipOptions

  public init(options: ZipOptions = .init()) { self.options = options }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    guard let probe = context.probe else { throw MergeError.needsProbe(name) }
    let zip = try ZipLoRA(inputs, probe: probe, options: options)
    let stop = try zip.optimize(progress: context.progress)
    return MergeResult(adapter: zip.zipped(), report: zip.report(stop: stop), coefficients: zip.coefficients)
  }
}
