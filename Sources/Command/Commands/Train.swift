internal import ArgumentParser
internal import Training
internal import Workflows

struct Train: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Train a LoRA on a few pictures of a subject, or on one picture of a style (DreamBooth).",
    discussion: """
      Ctrl-C saves the state; the same command continues from it and gives the same file to the byte.

      Example: ziplora train --base stabilityai/stable-diffusion-xl-base-1.0 --dtype bfloat16 --images photos/dog \
      --prompt "a sbu dog" --prior-images photos/other-dogs --prior-prompt "a dog" --output dog.safetensors
      """)

  @OptionGroup(title: "Base model") var base: BaseOptions

  @OptionGroup(title: "Pictures") var pictures: PictureOptions
  @OptionGroup(title: "Training") var training: TrainingOptions
  @OptionGroup(title: "Prior preservation") var prior: PriorOptions
  @OptionGroup(title: "Sample pictures") var samples: SampleOptions
  @OptionGroup(title: "LoRAs on the way") var checkpoints: CheckpointOptions
  @OptionGroup(title: "Memory") var memory: MemoryOptions
  @OptionGroup(title: "State") var state: StateOptions
  @OptionGroup(title: "Result") var output: AdapterOutputOptions<DialectOfNewLoRA>

  var workflow: TrainAdapter {
    TrainAdapter(
      base: base.model, pictures: pictures.source, size: pictures.size.size, flips: pictures.flip,
      training: training.options(priorWeight: prior.weight), start: training.startFrom,
      seedFollowsPictures: training.seed == nil, prior: prior.pictures, samples: samples.pictures,
      checkpointEvery: checkpoints.checkpointEvery, memory: memory.memory, state: state.saved, output: output.adapter)
  }
}

struct PictureOptions: ParsableArguments {
  @Option(help: ArgumentHelp("A folder of PNG, JPEG or WebP pictures, or one picture.", valueName: "dir|file"))
  var images: String

  @Option(help: ArgumentHelp("Prompt of every picture; by default the captions in the folder.", valueName: "text"))
  var prompt: String?

  @OptionGroup var size: SizeOptions

  @Flag(help: "Show the pictures left for right half of the time; not for what differs so, such as letters.")
  var flip = false

  func validate() throws {
    guard prompt?.allSatisfy(\.isWhitespace) != true else {
      throw ValidationError(
        "--prompt: found nothing; expected what the pictures show with words that call it up, such as \"a sbu dog\"")
    }
  }

  var source: PictureSource { PictureSource(images, prompt: prompt) }
}

struct PriorOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Folder of pictures of the whole class, where missing ones are put; dog-prior beside dog.safetensors when not given.",
      valueName: "dir"))
  var priorImages: String?

  @Option(help: ArgumentHelp("Prompt of the class, such as \"a dog\"; the base draws missing pictures.", valueName: "text"))
  var priorPrompt: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Pictures of the class that are used, the first by name; all in the folder, or 100 where none is but drawn ones.",
      valueName: "n"))
  var priorCount: Int?

  private static let standardWeight = DreamBooth.Options().priorWeight

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Weight of the loss on pictures of the class. (default: \(standardWeight))", valueName: "weight"))
  var priorWeight: Double?

  func validate() throws {
    guard priorWeight == nil || pictures != nil else {
      throw ValidationError("--prior-weight needs pictures of the class; give --prior-images, --prior-prompt or both")
    }
  }

  var weight: Double { priorWeight ?? Self.standardWeight }

  var pictures: PriorPictures? {
    guard priorImages != nil || priorPrompt != nil || priorCount != nil else { return nil }
    return PriorPictures(folder: priorImages, prompt: priorPrompt, count: priorCount)
  }
}

struct CheckpointOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Steps between files of the LoRA as it is by then, such as dog-step00500.safetensors beside dog.safetensors.",
      valueName: "n"))
  var checkpointEvery: Int?
}

struct SampleOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Prompt of a picture to draw while training; may be repeated.", valueName: "text"))
  var samplePrompt: [String] = []

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Steps between sample pictures; a tenth of all when not given.", valueName: "n"))
  var sampleEvery: Int?

  var pictures: SamplePictures { SamplePictures(prompts: samplePrompt, every: sampleEvery) }
}
