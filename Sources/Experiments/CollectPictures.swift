internal import Foundation
internal import Images
internal import SafeTensors
internal import Training
internal import Workflows

/// Pictures of several places in one folder, each with its prompt: what a LoRA of several things at once is trained on.
struct CollectPictures: Workflow {
  static let name = "collect"

  struct Source: Codable, Sendable, Equatable {
    var pictures: PictureSource
    /// How many of them, the first ones; nil for all.
    var count: Int?
    /// How often each of its pictures is there.
    var copies: Int
  }

  var sources: [Source]
  var output: String

  func validate() throws {
    guard !sources.isEmpty else { throw SettingError("there is nothing to collect; expected pictures") }
    for source in sources {
      try Demand.atLeast(1, source.copies, "copies")
      if let count = source.count { try Demand.atLeast(1, count, "count") }
    }
  }

  /// - Returns: the paths of the pictures and their captions.
  func perform(progress: ProgressHandler) throws -> [String] {
    let began = ContinuousClock.now
    // What an earlier run has left would be trained on, too.
    if Paths.exists(output) { try FileManager.default.removeItem(atPath: output) }
    try Paths.makeFolder(output)
    var (inputs, files): ([FileDigest], [String]) = ([], [])
    for (number, source) in sources.enumerated() {
      let content = try source.pictures.load(promptOption: "prompt").first(source.count)
      inputs += content.inputs
      for (index, (image, prompt)) in zip(content.images, content.prompts).enumerated() {
        for copy in 0..<source.copies {
          let stem = "\(output)/\(number + 1)-\(String(format: "%03d", index + 1))-\(copy + 1)"
          try image.write(to: "\(stem).png", overwrite: true)
          try AtomicFile.write(prompt, to: "\(stem).txt", overwrite: true)
          files += ["\(stem).png", "\(stem).txt"]
        }
      }
    }
    try RunRecord(self, inputs: inputs, outputs: files, began: began).write(to: Paths.record(of: output), overwrite: true)
    return files
  }
}
