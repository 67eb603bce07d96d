internal import ArgumentParser
internal import Foundation
internal import Workflows

@main
enum Main {
  static func main() {
    // Who reads the messages may end before the work does, and a file may grow beyond what its user is allowed: writing then fails.
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    checkArguments()
    ZipLoRACommand.main()
  }

  /// Refuses names that Swift would mend, and that would be those of other files then.
  private static func checkArguments() {
    for index in 1..<max(Int(CommandLine.argc), 1) {
      guard let text = CommandLine.unsafeArgv[index], String(validatingCString: text) == nil else { continue }
      ZipLoRACommand.exit(
        withError: ValidationError(
          "\(String(cString: text)): found an argument that is not UTF-8; rename the file, or write it in UTF-8"))
    }
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
