package import Torch

/// Models that are put together and prompted in the same way: what a pipeline must know beyond the parts' own settings.
///
/// To add one: a file beside this one and a line in `all`.
public struct ModelFamily: Sendable {
  /// Folders of one text encoder and its tokenizer; the first is also the prefix of its layers in LoRA files.
  public struct TextEncoderParts: Sendable {
    public let encoder: String
    public let tokenizer: String
  }

  public static let all: [ModelFamily] = [.stableDiffusionXL, .stableDiffusion1]

  public let name: String
  /// diffusers' pipelines of this family, `_class_name` of `model_index.json`.
  let pipelineClasses: [String]
  /// What the U-Net is told besides text states.
  let additionEmbedType: UNet2DConditionModel.AdditionEmbedType?
  public let textEncoders: [TextEncoderParts]
  /// Which layer of the text encoders the U-Net is trained to read, counted from the end, 1 being the last: what A1111 calls clip skip.
  /// The fewest that can be skipped, too.
  public let clipSkip: Int
  /// Text states [N, L, D] and pooled text [N, P] from what the text encoders say, and from which of their layers on.
  package let combine: @Sendable ([CLIPTextModel.Output], _ clipSkip: Int) -> (states: Tensor, textEmbeds: Tensor?)

  /// The family of a checkpoint.
  ///
  /// - Parameter index: `model_index.json`; nil where there is none, then the U-Net decides.
  /// - Throws: `ConfigurationError` for a pipeline of another kind.
  static func detect(_ index: ModelIndex?, _ unet: UNet2DConditionModel.Configuration?) throws -> ModelFamily {
    guard let className = index?.className else {
      return unet?.additionEmbedType == nil ? .stableDiffusion1 : .stableDiffusionXL
    }
    guard let family = all.first(where: { $0.pipelineClasses.contains(className) }) else {
      let supported = all.flatMap(\.pipelineClasses).map { "\"\($0)\"" }
      throw ConfigurationError(.unsupported(key: "_class_name", found: "\"\(className)\"", supported: supported))
    }
    return family
  }
}

/// `model_index.json`: the parts of a pipeline.
struct ModelIndex: Decodable {
  var className: String
  /// Whether no negative prompt means zeros instead of the states of an empty text.
  var forceZerosForEmptyPrompt: Bool
  /// The first text encoder of two; twice null where a model does without.
  private var textEncoder: [String?]?

  /// Whether it says that the model has no such part.
  func lacks(_ part: String) -> Bool { part == CodingKeys.textEncoder.rawValue && textEncoder == [nil, nil] }

  private enum CodingKeys: String, CodingKey {
    case className = "_class_name"
    case forceZerosForEmptyPrompt = "force_zeros_for_empty_prompt"
    case textEncoder = "text_encoder"
  }

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    className = try container.decode(String.self, forKey: .className)
    forceZerosForEmptyPrompt = try container.setting(.forceZerosForEmptyPrompt, default: true)
    textEncoder = try? container.decodeIfPresent([String?].self, forKey: .textEncoder)
  }
}
