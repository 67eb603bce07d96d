internal import ArgumentParser
internal import Foundation
internal import Workflows

@main
enum Main {
  static func main() {
    // Who reads the messages may end before the work does.
    signal(SIGPIPE, SIG_IGN)
    ZipLoRACommand.main()
  }
}

struct ZipLoRACommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ziplora",
    abstract: "Put any subject into any style by merging LoRAs (ZipLoRA, arXiv 2311.13600).",
    discussion: """
      Messages go to standard error, results to standard output. \
      Exit codes: 0 done, 1 failed, 64 wrong usage, 130 interrupted.
      """,
    version: Version.current,
    subcommands: [
      Demo.self, Train.self, Zip.self, Merge.self, Reweight.self, Convert.self, Resize.self, Generate.self, Inspect.self,
      Evaluate.self, Experiment.self, Load.self, Toybox.self, Predict.self,
    ])
}
