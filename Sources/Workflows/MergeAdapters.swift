internal import Foundation
internal import LoRA
public import Merging
internal import SafeTensors
public import Training

/// `ziplora merge`: several LoRAs become one by their weights alone.
public struct MergeAdapters: Workflow {
  public static let name = "merge"

  public struct Outcome: Sendable {
    public let lora: String
    public let reportFile: String
    public let report: MergeReport
  }

  /// By its name in `MergeMethods`.
  public var method: String
  /// What is set of it, by the options' names; the rest stays as it is by default.
  public var settings: [String: Double]
  /// In the order of the method's roles, where it has any.
  public var loras: [WeightedFile]
  /// What the files are for; without it, layers go by the names that the files give them.
  public var base: String?
  public var output: AdapterOutput

  public init(
    method: String, settings: [String: Double] = [:], loras: [WeightedFile], base: String? = nil, output: AdapterOutput
  ) {
    self.method = method
    self.settings = settings
    self.loras = loras
    self.base = base
    self.output = output
  }

  public func validate() throws {
    let method = try configured()
    let expected = method.roles.isEmpty ? "two or more" : "\(method.roles.count): \(method.roles.joined(separator: ", "))"
    guard method.roles.isEmpty ? loras.count >= 2 : loras.count == method.roles.count else {
      throw SettingError("--lora is given \(loras.count.counted("time")); the method \(method.name) takes \(expected)")
    }
    for lora in loras { try lora.validate() }
    try Demand.someWeight(loras)
    try Demand.apart(
      output.path, "output", from: loras.map(\.path), expected: "another name than those of the LoRAs that are merged")
    try output.validate()
  }

  /// The method with what is set of it.
  private func configured() throws(SettingError) -> any MergeMethod {
    guard let method = MergeMethods.named(method), !method.needsProbe else {
      let remedy = MergeMethods.named(method) == nil ? "" : "; it looks at pictures: use ziplora zip"
      let names = MergeMethods.onWeights.map(\.name).joined(separator: ", ")
      throw SettingError("--method \(method): expected one of \(names)\(remedy)")
    }
    do {
      return try method.setting(settings)
    } catch {
      throw SettingError(error)
    }
  }

  public func perform(progress: ProgressHandler) throws -> Outcome {
    let began = ContinuousClock.now
    let reportFile = output.reportPath
    let record = Paths.record(of: output.path)
    try Paths.checkWritable([output.path, reportFile, record], overwrite: output.overwrite)

    let sources = try AdapterFiles(loras.map(\.path), base: base, progress: progress)
    try sources.check(output)
    let inputs = [MergeInput](files: sources.files, adapters: sources.adapters, weights: loras.map(\.weight))
    let (adapter, report) = try merge(inputs, progress: progress)
    let reportText = try JSONText.pretty(report)
    let files = try sources.write(adapter, to: output)
    try AtomicFile.write(reportText + "\n", to: reportFile, overwrite: output.overwrite)
    try RunRecord(self, inputs: sources.inputs, outputs: files + [reportFile], began: began)
      .write(to: record, overwrite: output.overwrite)
    return Outcome(lora: output.path, reportFile: reportFile, report: report)
  }

  private func merge(_ inputs: [MergeInput], progress: ProgressHandler) throws -> (Adapter, MergeReport) {
    var timer = StepTimer()
    var layers = 1
    let result = try withoutActuallyEscaping(progress) { progress in
      let context = MergeContext(layers: { done, total in
        if done > 0 { timer.tick() }
        layers = total
        // The last one is told with the warnings.
        guard done < total else { return }
        let report = ProgressReport(phase: "merging", step: done, total: total, secondsPerStep: timer.secondsPerStep)
        try report.send(to: progress)
      })
      return try configured().merge(inputs, context: context)
    }
    _ = progress(ProgressReport(phase: "merging", step: layers, total: layers, warnings: result.report.warnings))
    return (result.adapter, result.report)
  }
}
