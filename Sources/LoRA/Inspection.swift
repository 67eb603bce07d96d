internal import OrderedCollections
internal import Torch

/// What there is to know about an adapter file, for people and, as JSON, for programs.
public struct Inspection: Codable, Sendable, Equatable {
  /// How often a value occurs.
  public struct Count: Codable, Sendable, Equatable {
    public let value: Double
    public let layers: Int
  }

  /// LoRA, LoHa, … and how many layers have that form.
  public struct Form: Codable, Sendable, Equatable {
    public let name: String
    public let layers: Int
  }

  public struct Scope: Codable, Sendable, Equatable {
    public let kind: ModuleKind
    public let layers: Int
  }

  /// A block of the network and ‖ΔW‖ over its layers, where it was asked for.
  public struct Block: Codable, Sendable, Equatable {
    public let name: String
    public let layers: Int
    public let norm: Double?
  }

  public struct Entry: Codable, Sendable, Equatable {
    public let key: String
    public let value: String
  }

  public let file: String
  public let dialect: String
  public let layers: Int
  public let forms: [Form]
  public let dtype: String
  /// In ascending order.
  public let ranks: [Count]
  public let alphas: [Count]
  public let scope: [Scope]
  /// Changes of biases and norms.
  public let vectors: Int
  /// A guess from shapes; nil where no cross-attention is changed.
  public let baseFamily: String?
  /// ‖ΔW‖ without layers whose change depends on the base (DoRA); nil where it was not asked for.
  public let norm: Double?
  public let blocks: [Block]
  /// Words that bring out what the adapter was trained on.
  public let triggers: [Trigger]
  /// How it was trained, as far as the file says.
  public let training: [Entry]
  public let metadata: [Entry]
  /// What a user should know and can do about it: layers without effect, what a LoRA cannot hold, metadata that does not fit
  /// the tensors, and whatever does not fit the base model when one is given.
  public let problems: [String]

  /// - Parameters:
  ///   - base: the model that the file is meant for; without it, names are reported as the file spells them.
  ///   - measures: whether the numbers in the tensors are looked at, for norms and for layers that change nothing. The rest is
  ///     in the header of the file and takes no time.
  public init(_ file: AdapterFile, base: ModuleNames? = nil, measures: Bool = true) {
    self.file = file.path
    dialect = file.dialect.name
    var problems = file.remarks
    var changes = file.layers
    if let base {
      do {
        let paths = try file.paths(in: base)
        changes = OrderedDictionary(uniqueKeysWithValues: changes.map { (paths[$0.key] ?? $0.key, $0.value) })
      } catch {
        problems.append("\(error)")
      }
    }
    layers = changes.count
    vectors = file.vectors.count
    forms = OrderedDictionary(grouping: changes.values, by: \.formName).map { Form(name: $0.key, layers: $0.value.count) }
    dtype = OrderedSet(changes.values.map(\.dtype.description)).joined(separator: ", ")
    ranks = Self.counts(changes.values.compactMap(\.rank).map(Double.init))
    alphas = Self.counts(changes.values.compactMap(\.alpha))
    let kinds = OrderedDictionary(grouping: changes.keys, by: ModuleKind.init(of:))
    scope = ModuleKind.allCases.compactMap { kind in kinds[kind].map { Scope(kind: kind, layers: $0.count) } }
    baseFamily = file.family?.description
    let norms = measures ? changes.compactMapValues(\.norm) : [:]
    norm = measures ? Self.total(norms.values.elements) : nil
    let measurable = changes.keys.filter { !measures || norms[$0] != nil }
    blocks = OrderedDictionary(grouping: measurable, by: Self.block).map { name, members in
      Block(name: name, layers: members.count, norm: measures ? Self.total(members.compactMap { norms[$0] }) : nil)
    }
    let description = MetadataDescription(file.metadata)
    (triggers, training) = (description.triggers, description.training)
    metadata = file.metadata.map { Entry(key: $0.key, value: $0.value) }
    self.problems =
      problems + Self.problems(of: changes, norms: norms, extras: file.extras(unless: false)) + description.problems(of: file)
  }

  private static func problems(
    of changes: OrderedDictionary<String, LayerChange>, norms: OrderedDictionary<String, Double>,
    extras: [AdapterFileError.Defect]
  ) -> [String] {
    var problems: [String] = []
    let idle = norms.filter { $0.value == 0 }.keys
    if let first = idle.first { problems.append("\(idle.count) layers change nothing (ΔW = 0), such as \(first)") }
    let bound = changes.filter { $0.value.needsBase }.keys
    if let first = bound.first {
      problems.append(
        "\(bound.count) layers are DoRA, such as \(first): what they change depends on the base model's weights, so a base "
          + "must be given to convert, resize or zip the file, and its result holds for that base")
    }
    let thick = changes.filter { !$0.value.isLoRA && !$0.value.needsBase }
    if let first = thick.elements.first {
      problems.append(
        "\(thick.count) layers are \(first.value.formName) or another form that is no LoRA, such as \(first.key); they become "
          + "one when the file is used, and `ziplora convert` says what that costs")
    }
    return problems + extras.map(\.description)
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
