import Foundation
import TestFiles
import Testing

/// Options without effect, without sense or beyond all measure.
@Suite struct UselessOptionTests {
  private static let (train, zip) = (UsageTests.train, UsageTests.zip)
  private static let pictures = ["--subject-images", "dog", "--style-images", "ink.png"]

  @Test(arguments: [
    (train + ["--memory", "1e10"], "--memory 10000000000.0: expected a number of GiB up to 1e6"),
    (zip + ["--memory", "1e300"], "--memory 1e+300: expected a number of GiB up to 1e6"),
    (
      train + ["--prior-weight", "0.5"],
      "--prior-weight needs pictures of the class; give --prior-images, --prior-prompt or both"
    ),
    (train + ["--prompt", ""], "--prompt: found nothing; expected what the pictures show with words that call it up"),
    (train + ["--prompt", " "], "--prompt: found nothing"),
    (
      zip + pictures + ["--references", "2", "--reference-guidance", "5"],
      "--references, --reference-guidance: no LoRA draws references, as each has pictures; leave this out, or give"
    ),
    (zip + pictures + ["--reference-steps", "2"], "--reference-steps: no LoRA draws references"),
    (
      zip + ["--subject-weight", "0", "--style-weight", "0"],
      "all LoRAs have weight 0, so that nothing of them would be left; expected another weight for one at least"
    ),
    (
      zip + ["--method", "paper", "--start", "1e300"], "--start 1e+300: expected a number from -1000 to 1000"
    ),
    (zip + ["--learning-rate", "0"], "--learning-rate 0.0: expected a number above 0"),
    (zip + ["--refine=-1"], "--steps -1: expected 0 or more"),
    (["toybox", "train", "--output", "a", "--work", "/dev/null"], "--work /dev/null: found a file, expected a folder"),
  ])
  func refused(_ arguments: [String], _ message: String) throws {
    try UsageTests().isToldInOneMessage(arguments, message)
  }

  @Test("options of references are for those who draw any")
  func references() throws {
    let folder = try TemporaryFolder()
    for drawing in [["--subject-images", "dog"], Self.pictures + ["--style-reference-prompt", "a mug in szn style"]] {
      let run = try Binary.run(Self.zip + drawing + ["--references", "2", "--subject", folder("nothing")])
      #expect(run.status == 1 && run.errors.contains("nothing"), "\(run.errors)")
    }
  }

  @Test("a learning rate that leaves no numbers is named", arguments: [1, 3])
  func divergence(steps: Int) throws {
    let folder = try TemporaryFolder()
    let run = try Binary.run(
      TrainedLoRAs.shared.get().zip(steps: steps, output: folder("a.safetensors"))
        + ["--method", "paper", "--learning-rate", "1e300"])
    #expect(run.status == 1, "\(run.errors)")
    #expect(run.errors.contains("with learning rate 1e+300; lower the learning rate"), "\(run.errors)")
  }

  @Test("a folder that cannot be made is told with its name")
  func filesInTheWay() throws {
    let folder = try TemporaryFolder()
    let file = try folder.emptyFile("file").path
    let train = ["toybox", "train", "--output", "\(file)/a", "--work", folder("b")]
    for arguments in [["toybox", "examples", "--output", file], train] {
      let run = try Binary.run(arguments)
      #expect(run.status == 1 && run.output == "")
      #expect(run.errors.contains("the folder cannot be made (\(file) is a file); choose another name"), "\(run.errors)")
      #expect(!run.errors.contains("Error Domain"), "\(run.errors)")
    }
  }

  @Test("more processes than can be counted are told")
  func processes() throws {
    let run = try Binary.run(
      Self.train, environment: ["RANK": "0", "WORLD_SIZE": "\(Int.max)", "MASTER_ADDR": "a", "MASTER_PORT": "1"])
    #expect(run.status == 1)
    #expect(run.errors.contains("expected a whole number from 1 to 2147483647"), "\(run.errors)")
  }
}
