internal import Diffusion
public import LoRA
internal import OrderedCollections
internal import Torch

/// Base models of which everybody has some version. Their layers are known without a file: names in a LoRA are resolved
/// against them where no base is given.
public enum KnownBase: String, CaseIterable, Codable, Sendable, CustomStringConvertible {
  case stableDiffusionXL = "Stable Diffusion XL"
  case stableDiffusion1 = "Stable Diffusion 1.x"
  case stableDiffusion2 = "Stable Diffusion 2.x"

  public var description: String { rawValue }

  /// Every layer that an adapter can change, told by the networks themselves, built without memory.
  public var moduleNames: ModuleNames {
    get throws {
      let store = WeightStore(.shapes, device: .meta)
      _ = try UNet2DConditionModel(unet, store.root / Component.unet.rawValue)
      for (component, configuration) in zip([Component.textEncoder, .textEncoder2], textEncoders) {
        _ = try CLIPTextModel(configuration, store.root / component.rawValue)
      }
      return ModuleNames(store.projections)
    }
  }

  private static let all = Result { try allCases.map { (base: $0, names: try $0.moduleNames) } }

  /// The one that a file was made for.
  ///
  /// - Throws: `AdapterFileError` with what does not fit the base that the file looks like; `SettingError` where nothing tells
  ///   the base.
  public static func of(_ file: AdapterFile) throws -> (base: KnownBase, names: ModuleNames) {
    let candidates = try all.get()
    let fitting = candidates.filter { (try? file.paths(in: $0.names)) != nil }
    if fitting.count == 1 { return fitting[0] }
    let possible = fitting.isEmpty ? candidates : fitting
    if let family = file.family ?? file.statedFamily, let likely = possible.first(where: { $0.names.family == family }) {
      _ = try file.paths(in: likely.names)
      return likely
    }
    let names = possible.map(\.base.description).joined(separator: fitting.isEmpty ? ", " : " and ")
    throw SettingError(
      fitting.isEmpty
        ? "\(file.path): made for none of the bases that are known (\(names)); give its own with --base"
        : "\(file.path): its layers fit \(names); say which one is meant by giving it with --base")
  }

  /// The same with the base's name.
  static func named(for file: AdapterFile) throws -> (name: String, names: ModuleNames) {
    let known = try of(file)
    return (known.base.description, known.names)
  }

  /// The one that all of these files were made for; nil where there is none.
  static func common(of files: [AdapterFile]) -> (base: KnownBase, names: ModuleNames)? {
    let known = files.compactMap { try? of($0) }
    return known.count == files.count && known.allSatisfy { $0.base == known[0].base } ? known.first : nil
  }

  private var unet: UNet2DConditionModel.Configuration {
    // The default is Stable Diffusion XL's.
    if self == .stableDiffusionXL { return .init() }
    let isSecond = self == .stableDiffusion2
    return UNet2DConditionModel.Configuration(
      sampleSize: 64, downBlockTypes: [.crossAttnDownBlock2D, .crossAttnDownBlock2D, .crossAttnDownBlock2D, .downBlock2D],
      upBlockTypes: [.upBlock2D, .crossAttnUpBlock2D, .crossAttnUpBlock2D, .crossAttnUpBlock2D],
      blockOutChannels: [320, 640, 1280, 1280], crossAttentionDim: isSecond ? 1024 : 768, transformerLayersPerBlock: 1,
      attentionHeadDim: isSecond ? [5, 10, 20, 20] : 8, useLinearProjection: isSecond, additionEmbedType: nil,
      additionTimeEmbedDim: nil, projectionClassEmbeddingsInputDim: nil)
  }

  /// Of the folders text_encoder and text_encoder_2.
  private var textEncoders: [CLIPTextModel.Configuration] {
    switch self {
    case .stableDiffusion1: [.init()]
    case .stableDiffusion2:
      [.init(hiddenSize: 1024, intermediateSize: 4096, numHiddenLayers: 23, numAttentionHeads: 16)]
    case .stableDiffusionXL:
      [
        .init(),
        .init(
          withProjection: true, hiddenSize: 1280, intermediateSize: 5120, projectionDim: 1280, numHiddenLayers: 32,
          numAttentionHeads: 20),
      ]
    }
  }
}
