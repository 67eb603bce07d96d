internal import ArgumentParser
internal import Workflows

struct Zip: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Merge a subject LoRA and a style LoRA into one that draws the subject in the style (ZipLoRA).",
    discussion: """
      Each LoRA is compared with itself on noisy pictures of what it was trained on. Where those are not at hand, the LoRA \
      draws references itself from its prompt. More than two LoRAs are zipped with --lora.

      Writes FILE, its merger coefficients (STEM.coefficients.safetensors), a report of every layer \
      (STEM.report.json) and a record of the run (FILE.json), and prints a summary. Ctrl-C saves the state; the same \
      command continues from it and gives the same file to the byte.

      Example: ziplora zip --base stabilityai/stable-diffusion-xl-base-1.0 --dtype bfloat16 --subject dog.safetensors \
      --subject-images photos/dog --subject-prompt "a sbu dog" --style ink.safetensors --style-images ink.png \
      --style-prompt "a house in szn style" --joint-prompt "a sbu dog in szn style" --output dog-in-ink.safetensors
      """)

  @OptionGroup(title: "Base model") var base: BaseOptions
  @OptionGroup(title: "LoRAs") var sides: SideOptions
  @OptionGroup(title: "References") var references: ReferenceOptions
  @OptionGroup(title: "Optimisation") var zip: ZipLoRAOptions
  @OptionGroup(title: "Memory") var memory: MemoryOptions
  @OptionGroup(title: "State") var state: StateOptions
  @OptionGroup(title: "Result") var output: AdapterOutputOptions<DialectOfFirstLoRA>

  private var isJoint: Bool { !sides.jointPrompt.isEmpty }

  func validate() throws {
    try zip.validate(isJoint: isJoint)
    try references.validate(draws: sides.draws)
    try validateWorkflow()
  }

  var workflow: ZipAdapters {
    ZipAdapters(
      base: base.model, subject: sides.subjectSide, style: sides.styleSide, others: sides.otherSides,
      jointPrompts: sides.jointPrompt, size: sides.size.size, batch: zip.batch, options: zip.options(isJoint: isJoint),
      references: references.saved(seed: zip.seed),
      memory: memory.memory, state: state.saved, output: output.adapter)
  }

  func text(of outcome: ZipAdapters.Outcome) -> String { outcome.summary }
}
