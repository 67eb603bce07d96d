internal import OrderedCollections
internal import Torch

/// What there is to know about an adapter file, for people and, as JSON, for programs.
public struct Inspection: Codable, Sendable, Equatable {
  /// How often a value occurs.
  public struct Count: Codable, Sendable, Equatable {
    public let value: Double
    public let layers: Int
  }

  public struct Scope: Codable, Sendable, Equatable {
    public let kind: ModuleKind
    public let layers: Int
  }

  /// A block of the network and ‖ΔW‖ over its layers.
  public struct Block: Codable, Sendable, Equatable {
    public let name: String
    public let layers: Int
    public let norm: Double
  }

  public struct Entry: Codable, Sendable, Equatable {
    public let key: String
    public let value: String
  }

  public let file: String
  public let dialect: String
  public let layers: Int
  public let dtype: String
  /// In ascending order.
  public let ranks: [Count]
  public let alphas: [Count]
  public let scope: [Scope]
  /// A guess from shapes; nil where no cross-attention is changed.
  public let baseFamily: String?
  public let norm: Double
  public let blocks: [Block]
  public let metadata: [Entry]
  /// What a user should know: layers without effect, and whatever does not fit the base model when one is given.
  public let problems: [String]

  /// - Parameter base: the model that the file is meant for; without it, names are reported as the file spells them.
  public init(_ file: AdapterFile, base: ModuleNames? = nil) {
    self.file = file.path
    dialect = file.dialect.name
    var problems: [String] = []
    var factors = file.layers
    if let base {
      do {
        factors = try file.adapter(for: base).factors
      } catch {
        problems.append("\(error)")
      }
    }
    layers = factors.count
    dtype = OrderedSet(factors.values.map { $0.down.dtype.description }).joined(separator: ", ")
    ranks = Self.counts(factors.values.map { Double($0.rank) })
    alphas = Self.counts(factors.values.map(\.alpha))
    let kinds = OrderedDictionary(grouping: factors.keys, by: ModuleKind.init(of:))
    scope = ModuleKind.allCases.compactMap { kind in kinds[kind].map { Scope(kind: kind, layers: $0.count) } }
    baseFamily = Self.family(of: file)?.description
    let norms = factors.mapValues(\.norm)
    norm = Self.total(norms.values.elements)
    blocks = OrderedDictionary(grouping: norms, by: { Self.block(of: $0.key) }).map { name, members in
      Block(name: name, layers: members.count, norm: Self.total(members.map(\.value)))
    }
    metadata = file.metadata.map { Entry(key: $0.key, value: $0.value) }
    let idle = norms.filter { $0.value == 0 }.keys
    if let first = idle.first { problems.append("\(idle.count) layers change nothing (ΔW = 0), such as \(first)") }
    self.problems = problems
  }

  static func family(of file: AdapterFile) -> BaseFamily? {
    BaseFamily(layers: file.layers.map { (name: $0.key, inputs: $0.value.inputs) })
  }

  /// The block that a layer belongs to: its name up to the second number in the UNet (`unet.down_blocks.1.attentions.0`),
  /// up to the first one in a text encoder, and never into a transformer.
  package static func block(of name: String) -> String {
    let component = Component(of: name)
    let limit = component == .unet || name.hasPrefix("lora_unet_") ? 2 : 1
    // The 2 of text_encoder_2 is no block.
    var end = name.index(name.startIndex, offsetBy: component?.rawValue.count ?? 0)
    var numbers = 0
    for word in name[end...].split(whereSeparator: { $0 == "." || $0 == "_" }) {
      if numbers == limit || ["transformer", "proj"].contains(word) { break }
      end = word.endIndex
      if word.allSatisfy(\.isNumber) { numbers += 1 }
    }
    return String(name[..<end])
  }

  private static func total(_ norms: [Double]) -> Double { norms.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  private static func counts(_ values: [Double]) -> [Count] {
    OrderedDictionary(grouping: values.sorted(), by: { $0 }).map { Count(value: $0.key, layers: $0.value.count) }
  }
}
