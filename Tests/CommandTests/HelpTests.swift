import Foundation
import TestFiles
import Testing

@Suite struct HelpTests {
  static let commands = [
    "", "demo", "train", "zip", "merge", "reweight", "convert", "resize", "generate", "inspect", "evaluate", "experiment", "load",
    "toybox",
    "toybox train", "toybox sheet", "toybox examples", "predict",
  ]

  /// To accept a change: `ziplora toybox train --help > Tests/CommandTests/Help/toybox-train.txt`.
  @Test(arguments: commands)
  func helpIsAsWritten(_ command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    let help = try Binary.run(words + ["--help"])
    #expect(help.status == 0)
    #expect(help.errors == "")
    let file = (words.isEmpty ? "ziplora" : words.joined(separator: "-")) + ".txt"
    let expected = try String(contentsOfFile: "\(repository)/Tests/CommandTests/Help/\(file)", encoding: .utf8)
    #expect(help.output == expected)
  }

  @Test func versionIsTold() throws {
    #expect(try Binary.succeed("--version") == "0.1.0\n")
  }
}
