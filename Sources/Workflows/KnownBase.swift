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
      _ = try UNet2DConditionModel(original.unet, store.root / Component.unet.rawValue)
      for (component, encoder) in zip([Component.textEncoder, .textEncoder2], original.textEncoders) {
        _ = try CLIPTextModel(encoder.configuration, store.root / component.rawValue)
      }
      return ModuleNames(store.projections)
    }
  }

  public typealias Known = (base: KnownBase, names: ModuleNames)

  private static let all = Result { try allCases.map { (base: $0, names: try $0.moduleNames) } }

  /// Those that every layer of a file fits; where these are none or several, the one of the family that the file looks like, if
  /// there is such a one.
  private static func candidates(for file: AdapterFile) throws -> [Known] {
    let all = try all.get()
    let fitting = all.filter { (try? file.paths(in: $0.names)) != nil }
    guard fitting.count != 1, let family = file.family ?? file.statedFamily else { return fitting }
    let likely = (fitting.isEmpty ? all : fitting).filter { $0.names.family == family }
    return likely.isEmpty ? fitting : likely
  }

  /// The one that a file was made for.
  ///
  /// - Throws: `AdapterFileError` with what does not fit the base that the file looks like; `SettingError` where nothing tells
  ///   the base.
  public static func of(_ file: AdapterFile) throws -> Known {
    let candidates = try candidates(for: file)
    switch candidates.count {
    case 0:
      let names = allCases.map(\.description).joined(separator: ", ")
      throw SettingError("\(file.path): made for none of the bases that are known (\(names)); give its own with --base")
    case 1:
      _ = try file.paths(in: candidates[0].names)
      return candidates[0]
    default:
      let names = candidates.map(\.base.description).joined(separator: " and ")
      throw SettingError("\(file.path): its layers fit \(names); say which one is meant by giving it with --base")
    }
  }

  /// The one that a file looks like, even if some of its layers do not fit; nil where it may be another or none.
  static func likely(for file: AdapterFile) throws -> Known? {
    let candidates = try candidates(for: file)
    return candidates.count == 1 ? candidates[0] : nil
  }

  /// The same with the base's name.
  static func named(for file: AdapterFile) throws -> (name: String, names: ModuleNames) {
    let known = try of(file)
    return (known.base.description, known.names)
  }

  /// The one that all of these files were made for; nil where none of them looks like one that is known.
  ///
  /// - Throws: what `of` says about a file that is for none or for several of them; `SettingError` for files of different ones.
  static func common(of files: [AdapterFile]) throws -> Known? {
    let candidates = try files.map(candidates(for:))
    guard candidates.contains(where: { !$0.isEmpty }) else { return nil }
    let shared = candidates[0].filter { one in candidates.allSatisfy { $0.contains { $0.base == one.base } } }
    if shared.count == 1 { return shared[0] }
    let known = try files.map(of)
    guard let other = known.firstIndex(where: { $0.base != known[0].base }) else { return known[0] }
    throw SettingError(
      """
      \(files[0].path) is for \(known[0].base) and \(files[other].path) for \(known[other].base); LoRAs go together only \
      where they are for one base
      """)
  }

  /// Refuses LoRAs of different bases before a base is fetched; what does not look like one that is known passes.
  ///
  /// - Throws: `SettingError`.
  static func checkTogether(_ files: [AdapterFile]) throws {
    let likely = try files.map { try Self.likely(for: $0)?.base }
    guard let first = likely.firstIndex(where: { $0 != nil }),
      let other = likely.firstIndex(where: { $0 != nil && $0 != likely[first] })
    else { return }
    throw SettingError(
      """
      \(files[first].path) is for \(likely[first]!) and \(files[other].path) for \(likely[other]!); LoRAs go together only \
      where they are for one base
      """)
  }

  private var original: OriginalFamily {
    switch self {
    case .stableDiffusionXL: .stableDiffusionXL
    case .stableDiffusion1: .stableDiffusion1
    case .stableDiffusion2: .stableDiffusion2
    }
  }
}
