internal import LoRA
public import Training

/// `ziplora convert`: a LoRA file in another dialect.
public struct ConvertAdapter: Workflow {
  public static let name = "convert"

  public var input: AdapterInput
  public var output: AdapterOutput

  public init(_ input: AdapterInput, output: AdapterOutput) {
    self.input = input
    self.output = output
  }

  public func validate() throws {
    try input.validate()
    try output.validate()
  }

  public func perform(progress: ProgressHandler) throws -> AdapterRewriting {
    let began = ContinuousClock.now
    let record = Paths.record(of: output.path)
    try Paths.checkWritable([output.path, record], overwrite: output.overwrite)
    let content = try input.read(progress: progress)
    try output.check(as: content.file.dialect)
    let result = try output.write(content.reading.adapter, of: content, reductions: content.reading.reductions)
    try RunRecord(self, inputs: content.inputs, outputs: result.files, began: began)
      .write(to: record, overwrite: output.overwrite)
    return result
  }
}
