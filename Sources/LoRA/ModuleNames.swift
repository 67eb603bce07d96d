public import OrderedCollections
public import Torch

/// The parts of a base model that carry adapters, by their folder names in a diffusers pipeline.
public enum Component: String, CaseIterable, Codable, Sendable {
  case unet
  case textEncoder = "text_encoder"
  case textEncoder2 = "text_encoder_2"

  /// The component that a full module path begins with.
  public init?(of path: String) {
    self.init(rawValue: String(path.prefix { $0 != "." }))
  }

  /// The full path of a module of this component.
  public func path(_ module: String) -> String { "\(rawValue).\(module)" }
}

/// Linear and convolution layers by full module path, in the model's order.
public typealias Projections = OrderedDictionary<String, any Projection>

extension OrderedDictionary where Key == String, Value == any Projection {
  /// One table of the projections of several components, each under its component's name.
  public static func joining(_ components: [(component: Component, projections: Projections)]) -> Projections {
    var joined: Projections = [:]
    for (component, projections) in components {
      for (module, projection) in projections { joined[component.path(module)] = projection }
    }
    return joined
  }
}

/// The layers of a base model that an adapter can change: full paths and weight shapes, in the model's order.
///
/// Some dialects spell module paths in a way that cannot be undone (kohya turns every `.` into `_`), so files are read
/// against this list. It must name every linear and convolution layer of each component, for block numbers are counted
/// from it.
public struct ModuleNames: Sendable {
  /// [out, in] or [out, in, k, k] by full path.
  public let shapes: OrderedDictionary<String, [Int]>

  /// Whether a layer's path has this part.
  ///
  /// - Parameters:
  ///   - path: or the name that kohya's dialect has for it, where no base tells the path.
  ///   - part: whole names: `up_blocks.0` or `attn2`, and not `attn`.
  public static func lies(_ path: String, under part: String) -> Bool {
    // kohya's names have one separator for all.
    let spell = path.contains(".") ? { $0 } : ModuleKind.plain
    return ".\(spell(path)).".contains(".\(spell(part)).")
  }

  public init(_ shapes: OrderedDictionary<String, [Int]>) { self.shapes = shapes }

  public init(_ projections: Projections) { self.init(projections.mapValues(\.weightShape)) }

  /// The full paths.
  public var paths: OrderedSet<String> { shapes.keys }

  /// Whether the model has a part of that name.
  public func has(_ component: Component) -> Bool { paths.contains { Component(of: $0) == component } }

  /// The paths of one component without its name.
  public func modules(of component: Component) -> [String] {
    paths.filter { Component(of: $0) == component }.map { String($0.dropFirst(component.rawValue.count + 1)) }
  }

  /// A text encoder's module under both its names: transformers before 5 has everything in `text_model`, and so do the files
  /// of most tools; later versions do not.
  static func textEncoderNames(_ module: String) -> [String] {
    let prefix = "text_model."
    let bare = module.hasPrefix(prefix) ? String(module.dropFirst(prefix.count)) : module
    return bare.hasPrefix("encoder.") ? [prefix + bare, bare] : [module]
  }

  /// The stems of every layer by full path, for dialects that name layers one by one.
  ///
  /// - Parameter stems: of a component's module; asked for each of a module's names.
  func spellings(_ stems: (Component, String) -> [String]) -> OrderedDictionary<String, [String]> {
    var spellings: OrderedDictionary<String, [String]> = [:]
    for component in Component.allCases {
      for module in modules(of: component) {
        let names = component == .unet ? [module] : Self.textEncoderNames(module)
        spellings[component.path(module)] = Array(OrderedSet(names.flatMap { stems(component, $0) }))
      }
    }
    return spellings
  }

  /// SDXL and models of its shape condition the UNet on sizes and a pooled text embedding.
  public var isStableDiffusionXL: Bool { paths.contains { $0.hasPrefix("unet.add_embedding.") } }

  /// The family that the cross-attention width tells.
  public var family: BaseFamily? { BaseFamily(layers: shapes.map { (name: $0.key, inputs: $0.value[1]) }) }
}

/// Which base model an adapter was made for, told by the width of the text embedding its cross-attention reads.
public enum BaseFamily: Equatable, Sendable, CustomStringConvertible {
  case stableDiffusion1
  case stableDiffusion2
  case stableDiffusionXL
  case other(crossAttentionWidth: Int)

  public init(crossAttentionWidth width: Int) {
    switch width {
    case 768: self = .stableDiffusion1
    case 1024: self = .stableDiffusion2
    case 2048: self = .stableDiffusionXL
    default: self = .other(crossAttentionWidth: width)
    }
  }

  /// Finds a key or value projection of a cross-attention by its name, in whatever dialect; nil where there is none.
  public init?(layers: some Sequence<(name: String, inputs: Int)>) {
    let found = layers.first { name, _ in
      let name = ModuleKind.plain(name)
      return name.contains("attn2.") && (name.hasSuffix(".to.k") || name.hasSuffix(".to.v"))
    }
    guard let found else { return nil }
    self.init(crossAttentionWidth: found.inputs)
  }

  public var description: String {
    switch self {
    case .stableDiffusion1: "Stable Diffusion 1.x (cross-attention width 768)"
    case .stableDiffusion2: "Stable Diffusion 2.x (cross-attention width 1024)"
    case .stableDiffusionXL: "Stable Diffusion XL (cross-attention width 2048)"
    case .other(let width): "an unknown family (cross-attention width \(width))"
    }
  }
}
