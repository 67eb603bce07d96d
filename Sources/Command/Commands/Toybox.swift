internal import ArgumentParser
internal import Foundation
internal import Images
internal import SafeTensors
internal import Torch
internal import Toybox
internal import Workflows

struct Toybox: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The miniature world with ground truth, and the base model trained on it.",
    subcommands: [Train.self, Sheet.self, Examples.self])

  struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Train the Toybox base from nothing, with its oracle and the encoders of the paper's scores.",
      discussion: """
        About three hours on two cores; a second architecture with the same work folder takes over everything but U-Net \
        and text encoders. The same command continues an interrupted training. \
        The base so far is written to the output folder now and then, to be looked at with 'ziplora generate'.
        """)

    @Option(help: ArgumentHelp("Folder of the finished base, in diffusers layout.", valueName: "dir"))
    var output: String

    @Option(help: "The published model that it is a miniature of.")
    var architecture = BaseArchitecture.stableDiffusionXL

    @Option(help: ArgumentHelp("Folder for pictures and states; about 1 GB.", valueName: "dir"))
    var work = "runs/toybox"

    @OptionGroup var overwriting: OverwriteOptions

    func validate() throws {
      for (option, path) in [("output", output), ("work", work)] where Paths.exists(path) && !Paths.isFolder(path) {
        throw ValidationError("--\(option) \(path): found a file, expected a folder or a new name")
      }
    }

    func run() throws {
      let bar = ProgressBar()
      let recipe = BaseRecipe(architecture: architecture)
      try report(with: bar) {
        for folder in [work, output] { try Paths.makeFolder(folder) }
        try ToyboxBase(recipe: recipe, work: work, output: output, overwrite: overwriting.overwrite).train(progress: bar.show)
      }
      try StandardStream.print(output)
    }
  }

  struct Sheet: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Draw a contact sheet of the world.")

    @Option(help: ArgumentHelp("The sheet.", valueName: "file.png"))
    var output: String

    @Option(parsing: .unconditional, help: "Pictures on it.")
    var count = 96

    @Option(parsing: .unconditional, help: "Pictures of a row.")
    var columns = 12

    @Option(parsing: .unconditional, help: "Seed of the scenes.")
    var seed: UInt64 = 0

    @Flag(help: "Replace an existing file.")
    var overwrite = false

    func validate() throws {
      guard (1...10_000).contains(count), (1...10_000).contains(columns) else {
        throw ValidationError("--count \(count), --columns \(columns): expected 1 to 10000 of each")
      }
      guard output.lowercased().hasSuffix(".png") else {
        throw ValidationError("--output \(output): expected a name that ends in .png")
      }
    }

    func run() throws {
      var sampler = SceneSampler(random: SplitMix64(seed: seed))
      let pictures = sampler.next(count).map { Image(rendered: $0) }
      try report(with: ProgressBar()) {
        try ContactSheet(pictures, columns: columns, magnification: 2).image().write(to: output, overwrite: overwrite)
      }
      try StandardStream.print(output)
    }
  }

  struct Examples: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write the example subjects and styles as folders of pictures with prompts: the demo's input.")

    @Option(help: ArgumentHelp("Folder for subjects/NAME and styles/NAME.", valueName: "dir"))
    var output: String

    @Flag(help: "Replace existing files.")
    var overwrite = false

    func run() throws {
      for example in Example.subjects + Example.styles {
        let folder = "\(output)/\(example.kind.rawValue)s/\(example.name)"
        try report(with: ProgressBar()) {
          try Paths.makeFolder(folder)
          for (index, picture) in example.pictures.enumerated() {
            try picture.write(to: "\(folder)/\(index + 1).png", overwrite: overwrite)
          }
          try AtomicFile.write(example.prompt + "\n", to: "\(folder)/prompt.txt", overwrite: overwrite)
        }
        try StandardStream.print(folder)
      }
    }
  }
}
