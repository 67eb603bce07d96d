internal import ArgumentParser
internal import SafeTensors
internal import Workflows

/// For developers: Scripts/measure_loading.py compares it with diffusers.
struct Load: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read a base model and say how long that took, for Scripts/measure_loading.py.", shouldDisplay: false)

  @OptionGroup(title: "Base model") var base: BaseOptions

  var workflow: LoadModel { LoadModel(base: base.model) }

  func text(of outcome: LoadModel.Outcome) throws -> String {
    try JSONText.compact(outcome)
  }
}
