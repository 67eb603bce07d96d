import Foundation
import SafeTensors
import TestFiles
import Testing

/// Files and folders that are not as they should be: exit code 1, one message that names them, nothing left behind.
@Suite struct BadInputTests {
  let folder: TemporaryFolder
  let results: TemporaryFolder
  let picture = "\(fixtures)/rgb-8.png"

  init() throws { (folder, results) = (try TemporaryFolder(), try TemporaryFolder()) }

  func expectFailure(
    _ arguments: [String], _ messages: String..., left: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let run = try Binary.run(arguments)
    #expect(run.status == 1, sourceLocation: sourceLocation)
    #expect(run.output == "", sourceLocation: sourceLocation)
    // Progress may stand before it.
    let lines = run.errors.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("Error: ") }, "\(run.errors)", sourceLocation: sourceLocation)
    for message in messages { #expect(run.errors.contains(message), "\(run.errors)", sourceLocation: sourceLocation) }
    // What a Swift error looks like that nobody wrote a message for.
    for sign in ["Error(", "Error Domain", "DecodingError", "Optional("] {
      #expect(!run.errors.contains(sign), "\(run.errors)", sourceLocation: sourceLocation)
    }
    #expect(try results.names == left, sourceLocation: sourceLocation)
  }

  func train(_ images: String, base: String = base, output: String? = nil) -> [String] {
    ["train", "--base", base, "--images", images, "--steps", "1", "--rank", "2", "--output", output ?? results("a.safetensors")]
  }

  func generate(_ lora: String, base: String = base) -> [String] {
    ["generate", "--base", base, "--prompt", "a", "--lora", lora, "--steps", "1", "--output", results("a.png")]
  }

  /// A LoRA of one layer with this weight [out, in].
  func lora(_ module: String, out: Int, in inputs: Int) throws -> String {
    let path = folder("\(module).safetensors")
    func source(_ half: String, _ shape: [Int]) -> SafeTensorsSource {
      let numbers = [Float](repeating: 0.1, count: shape.reduce(1, *))
      return SafeTensorsSource(
        name: "\(module).lora_\(half).weight", dtype: .F32, shape: shape, bytes: numbers.withUnsafeBytes { Data($0) })
    }
    try SafeTensorsFile.write([source("A", [2, inputs]), source("B", [out, 2])], to: path)
    return path
  }

  @Test func missingBase() throws {
    try expectFailure(
      train(picture, base: folder("nothing")) + ["--prompt", "a"],
      "nothing: no such folder or file; expected a folder in the layout")
  }

  @Test func folderThatIsNoBase() throws {
    try expectFailure(train(picture, base: folder.path) + ["--prompt", "a"], "no such folder")
  }

  @Test func tooLittleMemory() throws {
    try expectFailure(
      train(picture) + ["--prompt", "a", "--memory", "0.01"], "--memory 0.01: expected 0.",
      "GiB or more, which this takes even if every block is computed again; smaller pictures or batches take less")
  }

  @Test func missingLoRA() throws {
    try expectFailure(generate(folder("cat.safetensors")), "cat.safetensors", "No such file")
  }

  @Test func truncatedLoRA() throws {
    let path = folder("cut.safetensors")
    try bytes("\(goldens)/adapters/attention/kohya.safetensors").prefix(20_000).write(to: URL(filePath: path))
    try expectFailure(
      generate(path), "cut.safetensors: states a header of 54440 bytes but holds 20000 in all; the file is cut short")
  }

  @Test func weightsThatAreNoLoRA() throws {
    try expectFailure(
      generate("\(base)/unet/diffusion_pytorch_model.safetensors"), "not a LoRA file of a known dialect", "kohya", "diffusers")
  }

  @Test func loraForAnotherBaseNamesTheShapes() throws {
    let path = try lora("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", out: 640, in: 640)
    try expectFailure(
      generate(path), "not made for this base model", "the file is for a weight [640, 640], the model's is [8, 8]")
  }

  @Test func loraWithNoMatchingLayer() throws {
    let path = try lora("unet.down_blocks.9.attentions.0.transformer_blocks.0.attn1.to_q", out: 8, in: 8)
    try expectFailure(
      generate(path), "not made for this base model (1 of 1 layers do not fit)",
      "no layer of the base model is called unet.down_blocks.9")
  }

  @Test func textFileAmongPictures() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png")
    try "buy milk".write(toFile: "\(pictures)/notes.txt", atomically: true, encoding: .utf8)
    try expectFailure(train(pictures) + ["--prompt", "a"], "notes.txt: a text file, but a PNG, JPEG or WebP picture is expected")
  }

  @Test func brokenPicture() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png")
    try bytes("\(fixtures)/444.jpg").prefix(300).write(to: URL(filePath: "\(pictures)/b.jpg"))
    try expectFailure(train(pictures) + ["--prompt", "a"], "b.jpg: a truncated JPEG file")
  }

  @Test func missingPictures() throws {
    try expectFailure(train(folder("dog")) + ["--prompt", "a"], "dog: no such file or folder")
  }

  @Test func pictureWithoutPrompt() throws {
    let pictures = try folder.pictures("dog", "rgb-8.png")
    try expectFailure(train(pictures), "0-rgb-8.png has no prompt; give one with --prompt, or write one into", "0-rgb-8.txt")
    try expectFailure(train(picture), "rgb-8.png has no prompt; give one with --prompt")
  }

  @Test func targetsThatTheBaseLacks() throws {
    try expectFailure(
      train(picture) + ["--prompt", "a", "--targets", "attn3.to_k"], "no layer of the base model is meant by \"attn3.to_k\"")
  }

  @Test func sizeThatIsNoMultiple() throws {
    try expectFailure(train(picture) + ["--prompt", "a", "--width", "50"], "the width is 50 pixels; expected a multiple of 4")
  }

  @Test func outputFolderThatIsNotThere() throws {
    try expectFailure(
      train(picture, output: results("x/a.safetensors")) + ["--prompt", "a"], "x does not exist; create it first")
  }

  @Test func outputFolderThatIsNotWritable() throws {
    // root may write everywhere but in the kernel's own folders.
    let locked = geteuid() == 0 ? "/sys" : folder("locked")
    if geteuid() != 0 {
      try FileManager.default.createDirectory(
        atPath: locked, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o500])
    }
    try expectFailure(
      train(picture, output: "\(locked)/a.safetensors") + ["--prompt", "a"], "no permission to write in the folder \(locked)")
  }

  @Test func nothingIsReplacedUnasked() throws {
    let precious = Data("precious".utf8)
    for name in ["a.safetensors", "a.png"] { try precious.write(to: URL(filePath: results(name))) }
    let left = ["a.png", "a.safetensors"]
    let message = "exists already; choose another name or allow it to be replaced with --overwrite"
    try expectFailure(train(picture) + ["--prompt", "a"], "a.safetensors: \(message)", left: left)
    try expectFailure(generate("\(goldens)/adapters/attention/kohya.safetensors"), "a.png: \(message)", left: left)
    for name in left { #expect(try bytes(results(name)) == precious) }
  }

  @Test func lorasOfDifferentDialectsNeedABaseToBeCompared() throws {
    let files = ["kohya", "peft"].map { "\(goldens)/adapters/attention/\($0).safetensors" }
    try expectFailure(["inspect"] + files, "give the base model that both are for with --base to compare them")
  }
}
