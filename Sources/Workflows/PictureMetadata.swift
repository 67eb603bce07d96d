internal import Diffusion
internal import Foundation
internal import Images
internal import LoRA
internal import Merging
internal import SafeTensors

/// What a picture says about itself in PNG text chunks: `parameters` as A1111 and what reads its pictures know it, and
/// `ziplora` as JSON. Names of files without their folders, for pictures are passed on.
struct PictureMetadata {
  private struct Record: Encodable {
    struct LoRA: Encodable {
      let file: String
      let weight: Double
      let sha256: String
    }

    var prompt = ""
    let negativePrompt: String?
    let sampler: String
    let steps: Int
    let guidance: Double
    let guidanceRescale: Double?
    var width = 0
    var height = 0
    var seed: UInt64 = 0
    let base: String
    let clipSkip: Int?
    let dtype: String
    let loras: [LoRA]
    let combination: LoRACombination
    let version = Version.current
  }

  private static let key = "ziplora"

  private let record: Record
  private let sampler: Sampler

  /// - Parameters:
  ///   - digests: of all files of its LoRAs.
  ///   - files: its LoRAs, which it may name by their folders.
  init(_ workflow: GenerateImages, digests: [FileDigest], of files: [AdapterFile]) {
    let known = Dictionary(digests.map { ($0.path, $0.sha256) }) { first, _ in first }
    sampler = workflow.sampler
    record = Record(
      negativePrompt: workflow.negativePrompt, sampler: workflow.sampler.name, steps: workflow.steps,
      guidance: workflow.guidance, guidanceRescale: workflow.guidanceRescale, base: Paths.name(workflow.base.source),
      clipSkip: workflow.base.choices.clipSkip, dtype: "\(workflow.base.dtype)",
      loras: zip(workflow.loras, files).map { lora, file in
        .init(file: Paths.name(lora.path), weight: lora.weight, sha256: known[file.path]!)
      }, combination: workflow.combination)
  }

  func texts(of source: (prompt: String, seed: UInt64), _ image: Image) throws -> [(key: String, value: String)] {
    var record = record
    record.prompt = source.prompt
    (record.width, record.height, record.seed) = (image.width, image.height, source.seed)
    return [("parameters", try parameters(record)), (Self.key, try JSONText.compact(record))]
  }

  /// The prompt that a picture made here says it shows; nil for any other file.
  static func prompt(ofPicture path: String) -> String? {
    struct Prompt: Decodable { let prompt: String }
    guard let bytes = try? Data(contentsOf: URL(filePath: path)), let texts = try? Image.pngText(of: [UInt8](bytes)),
      let record = texts.first(where: { $0.key == key })
    else { return nil }
    return try? JSONDecoder().decode(Prompt.self, from: Data(record.value.utf8)).prompt
  }

  /// A1111: modules/processing.py create_infotext, infotext_utils.py quote.
  private func parameters(_ record: Record) throws -> String {
    let loras = record.loras.map { " <lora:\(Paths.stem($0.file)):\($0.weight.shortest)>" }.joined()
    let negative = record.negativePrompt.map { "Negative prompt: \($0)\n" } ?? ""
    let base = record.base.contains { ",:\n".contains($0) } ? try JSONText.compact(record.base) : record.base
    let skip = record.clipSkip.map { "Clip skip: \($0), " } ?? ""
    return """
      \(record.prompt)\(loras)
      \(negative)Steps: \(record.steps), Sampler: \(sampler.nameInA1111), CFG scale: \(record.guidance.shortest), \
      Seed: \(record.seed), Size: \(record.width)x\(record.height), Model: \(base), \(skip)\
      Version: ziplora \(record.version)
      """
  }
}
