package import Diffusion
internal import Foundation
package import Images
internal import OrderedCollections
package import Training

/// Pictures with their prompts: a folder or one file.
public struct PictureSource: Codable, Sendable, Equatable {
  public var path: String
  /// Of every picture; the folder's own captions when nil.
  public var prompt: String?

  public init(_ path: String, prompt: String? = nil) {
    self.path = path
    self.prompt = prompt
  }

  /// On one line, as LoRA files list prompts line by line.
  var givenPrompt: String? { prompt?.onOneLine }

  /// What a source holds, read and complete.
  package struct Content {
    package let images: [Image]
    package let prompts: [String]
    /// How often each picture is shown beside the others.
    let repeats: [Int]
    /// Everything that was read: the pictures, and after them the files that their prompts come from.
    package let inputs: [FileDigest]

    /// Each prompt once.
    var distinctPrompts: OrderedSet<String> { OrderedSet(prompts) }

    /// - Parameters:
    ///   - flips: as of `LatentCache`.
    ///   - kind: what the pictures are, for the progress.
    package func cache(
      _ model: DiffusionModel, _ size: PictureSize, flips: Bool = false, of kind: String = "pictures", progress: ProgressHandler
    ) throws -> LatentCache {
      try LatentCache(
        images, prompts: prompts, repeats: repeats, flips: flips, model: model, width: size.width, height: size.height,
        phase: "encoding \(kind)", progress: progress)
    }

    /// The first pictures of it, with all captions that were read; everything when nil.
    package func first(_ count: Int?) -> Content {
      guard let count, count < images.count else { return self }
      return Content(
        images: Array(images.prefix(count)), prompts: Array(prompts.prefix(count)), repeats: Array(repeats.prefix(count)),
        inputs: Array(inputs.prefix(count) + inputs.dropFirst(images.count)))
    }

    /// What tells this content from another: the bytes of the pictures and the prompts, wherever the files are.
    package var identity: [String] { inputs.prefix(images.count).map(\.sha256) + prompts }

    /// What tells it from the same pictures shown more or less often; nothing where all are shown alike.
    var repetition: [String] { repeats.allSatisfy { $0 == 1 } ? [] : ["repeats \(repeats)"] }

    /// Follows from the content and what is beside it, so that LoRAs of other pictures do not begin alike.
    func seed(beside others: [String]) -> UInt64 { UInt64(FileDigest.ofTexts(identity + others).prefix(8), radix: 16)! }
  }

  /// - Parameter option: what gives the prompt on the command line, for the error about a missing one.
  /// - Throws: `ImageError` and `FileDigestError` for what cannot be read, `SettingError` for a picture without a prompt.
  package func load(promptOption option: String) throws -> Content {
    let (pictures, captions) = try read()
    let prompts = try pictures.map { picture in
      guard let prompt = givenPrompt ?? picture.caption else {
        let caption = Paths.isFolder(path) ? ", or write one into \(Paths.stem(picture.file)).txt" : ""
        throw SettingError("\(picture.file) has no prompt; give one with --\(option)\(caption)")
      }
      return prompt
    }
    let files = pictures.map(\.file) + (prompt == nil ? captions : [])
    // Only how often they are shown beside each other counts.
    let divisor = pictures.map(\.repeats).reduce(0, Self.greatestCommonDivisor)
    return Content(
      images: pictures.map(\.image), prompts: prompts, repeats: pictures.map { $0.repeats / divisor },
      inputs: try files.map(FileDigest.init))
  }

  /// A picture as it lies in a folder, or alone.
  package struct Picture {
    package let file: String
    package let image: Image
    let caption: String?
    /// How often it is shown beside the others.
    let repeats: Int
  }

  private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }

  /// The pictures with what their folder says of them, and the files that captions come from.
  ///
  /// - Throws: `ImageError` for what cannot be read.
  package func read() throws -> (pictures: [Picture], captions: [String]) {
    guard Paths.exists(path) else {
      throw ImageError.unreadable(name: path, reason: "no such file or folder")
    }
    guard Paths.isFolder(path) else {
      return ([Picture(file: path, image: try Image(contentsOf: path), caption: nil, repeats: 1)], [])
    }
    let prefix = path.hasSuffix("/") ? path : "\(path)/"
    let folder = try ImageFolder(contentsOf: path)
    let pictures = folder.pictures.map {
      Picture(file: prefix + $0.name, image: $0.image, caption: $0.prompt, repeats: $0.repeats)
    }
    return (pictures, folder.captions.map { prefix + $0 })
  }
}
