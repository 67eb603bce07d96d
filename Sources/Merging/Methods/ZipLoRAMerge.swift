internal import LoRA

/// ZipLoRA as a row of the table of methods; see `ZipLoRA`.
public struct ZipLoRAMerge: MergeMethod {
  public var name: String { "ziplora" }
  public var summary: String { "learns one coefficient for each input column of each LoRA" }
  public var reference: String { "https://arxiv.org/abs/2311.13600" }
  public var needsProbe: Bool { true }
  public var options: ZipOptions

  public init(options: ZipOptions = .init()) { self.options = options }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    guard let probe = context.probe else { throw MergeError.needsProbe(name) }
    let zip = try ZipLoRA(inputs, probe: probe, options: options)
    let stop = try zip.optimize(progress: context.progress)
    return MergeResult(adapter: zip.zipped(), report: zip.report(stop: stop), coefficients: zip.coefficients)
  }
}
