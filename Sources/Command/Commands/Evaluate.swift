internal import ArgumentParser
internal import Evaluation
internal import Torch
internal import Workflows

struct Evaluate: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Score pictures as papers do: CLIP-I (style), CLIP-T (text) and DINO (subject).",
    discussion: """
      Prints the mean of each score with its 95 % interval, and what it depends on: models, the SHA-256 of their weights, \
      preprocessing and numbers of pictures. Only differences between methods judged by the same models mean something. \
      With --json, the scores of every picture too; a record of the run is then in FILE.json.

      Example: ziplora evaluate --pictures out --prompt "a sbu dog in szn style" --subject-images dog --style-images ink.png \
      --clip openai/clip-vit-large-patch14 --dino facebook/dino-vits16
      """)

  @Option(help: ArgumentHelp("Picture or folder of pictures to score.", valueName: "dir|file"))
  var pictures: String

  @Option(
    help: ArgumentHelp(
      "What the pictures show; otherwise the captions in their folder, or what their metadata says.", valueName: "text"))
  var prompt: String?

  @Option(help: ArgumentHelp("Pictures of the subject.", valueName: "dir|file"))
  var subjectImages: String?

  @Option(help: ArgumentHelp("Pictures of the style.", valueName: "dir|file"))
  var styleImages: String?

  @Option(
    help: ArgumentHelp(
      "CLIPModel for text and style: a folder in the layout of transformers, or an id of the Hugging Face hub.",
      valueName: "dir|id"))
  var clip: String?

  @Option(help: ArgumentHelp("ViTModel (DINO) or Dinov2Model for the subject.", valueName: "dir|id"))
  var dino: String?

  @Option(
    help: ArgumentHelp(
      "A word of the LoRAs that CLIP cannot know, left out for a second CLIP-T; may be repeated (default: sbu, szn).",
      valueName: "word"))
  var rareToken: [String] = []

  @Option(help: ArgumentHelp("Where the models compute: cpu, cuda, cuda:1 or mps.", valueName: "device"))
  var device: Device = .cpu

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Threads of the CPU; results are the same to the byte for the same number.", valueName: "n"))
  var threads: Int?

  @Option(help: ArgumentHelp("JSON file to write, with the scores of every picture.", valueName: "file"))
  var json: String?

  @OptionGroup var overwriting: OverwriteOptions

  var workflow: EvaluatePictures {
    var workflow = EvaluatePictures(
      pictures: PictureSource(pictures, prompt: prompt), subjectImages: subjectImages, styleImages: styleImages, clip: clip,
      dino: dino, device: device, threads: threads, json: json, overwrite: overwriting.overwrite)
    if !rareToken.isEmpty { workflow.rareTokens = RareTokens(rareToken) }
    return workflow
  }

  func text(of outcome: PictureScores) -> String { outcome.summary }
}
