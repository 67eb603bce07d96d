internal import OrderedCollections

/// What a layer does, told by its name.
public enum ModuleKind: String, CaseIterable, Codable, Sendable {
  /// to_q, to_k, to_v and to_out of self- and cross-attention: what the ZipLoRA paper adapts and zips.
  case attention
  /// The two layers of a transformer's feed-forward network.
  case feedForward = "ff"
  /// proj_in and proj_out of a spatial transformer.
  case projection = "proj"
  /// Convolutions and time projections of residual blocks, and the convolutions that halve and double the resolution.
  case convolution = "conv"
  /// Attention and feed-forward layers of a text encoder.
  case textEncoder = "text-encoders"
  case other

  /// - Parameter name: a module path or a dialect's spelling of one.
  public init(of name: String) {
    let name = Self.plain(name)
    func ends(with endings: String...) -> Bool { endings.contains { name.hasSuffix($0) } }
    func contains(_ parts: String...) -> Bool { parts.contains { name.contains($0) } }
    if name.hasPrefix("text.encoder") || name.hasPrefix("lora.te") || contains("encoder.layers.") {
      self = contains(".self.attn.", ".mlp.") ? .textEncoder : .other
    } else if contains(".attn1.", ".attn2.") {
      self = ends(with: ".to.q", ".to.k", ".to.v", ".to.out.0", ".to.out") ? .attention : .other
    } else if contains(".ff.net.") {
      self = .feedForward
    } else if ends(with: ".proj.in", ".proj.out") {
      self = .projection
    } else if contains(".resnets.", "samplers.", ".in.layers.", ".emb.layers.", ".out.layers.")
      || ends(with: ".skip.connection", ".0.op", ".1.conv", ".2.conv")
    {
      self = .convolution
    } else {
      self = .other
    }
  }

  /// A name with all its separators alike, as far as kohya's spelling still tells them.
  static func plain(_ name: String) -> String { String(name.map { $0 == "_" ? "." : $0 }) }
}

/// Which layers of a base model get an adapter, or are zipped: kinds of layers, or endings of module paths.
public struct Targets: Sendable, Equatable, CustomStringConvertible {
  enum Selector: Equatable { case kind(ModuleKind), ending(String) }

  let selectors: [Selector]

  /// The scope of the paper.
  public static let attention = Targets([.attention])

  public init(_ kinds: [ModuleKind]) { selectors = kinds.map(Selector.kind) }

  /// - Parameter text: kinds joined by `+`, such as `attention+ff`, or endings of module paths separated by commas, such
  ///   as `attn2.to_k,attn2.to_v`.
  public init(_ text: String) throws(TargetsError) {
    let kinds = text.split(separator: "+", omittingEmptySubsequences: false).map { ModuleKind(rawValue: String($0)) }
    let endings = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    if kinds.allSatisfy({ $0 != nil && $0 != .other }) {
      selectors = kinds.compactMap { $0.map(Selector.kind) }
    } else if !text.contains("+"), endings.allSatisfy({ !$0.isEmpty && !$0.contains(" ") }) {
      selectors = endings.map(Selector.ending)
    } else {
      throw .unreadable(text)
    }
  }

  public var description: String {
    selectors.map {
      switch $0 {
      case .kind(let kind): kind.rawValue
      case .ending(let ending): ending
      }
    }.joined(separator: selectors.contains { if case .kind = $0 { true } else { false } } ? "+" : ",")
  }

  public func contains(_ path: String) -> Bool { selectors.contains { Self.matches($0, path) } }

  /// The paths of the model's layers that are meant, in the model's order.
  ///
  /// - Throws: `TargetsError.nothingFound` where a kind or an ending fits no layer at all, which is mostly a misspelling.
  public func paths(in base: ModuleNames) throws(TargetsError) -> [String] {
    for selector in selectors where !base.paths.contains(where: { Self.matches(selector, $0) }) {
      let name = Targets(selectors: [selector]).description
      throw .nothingFound(name, available: Self.summary(of: base))
    }
    return base.paths.filter(contains)
  }

  private init(selectors: [Selector]) { self.selectors = selectors }

  private static func matches(_ selector: Selector, _ path: String) -> Bool {
    switch selector {
    case .kind(let kind): ModuleKind(of: path) == kind
    case .ending(let ending): path == ending || path.hasSuffix(".\(ending)")
    }
  }

  /// Each kind of layer that the model has, with its number and an example.
  private static func summary(of base: ModuleNames) -> [String] {
    let kinds = OrderedDictionary(grouping: base.paths, by: ModuleKind.init(of:))
    return ModuleKind.allCases.compactMap { kind in
      kinds[kind].map { "\(kind.rawValue): \($0.count) layers such as \($0[0])" }
    }
  }
}

extension Targets: Codable {
  public init(from decoder: any Decoder) throws {
    try self.init(decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// Why a choice of layers cannot be followed.
public enum TargetsError: Error, CustomStringConvertible, Equatable {
  case unreadable(String)
  case nothingFound(String, available: [String])

  public var description: String {
    switch self {
    case .unreadable(let text):
      """
      "\(text)" does not name layers; expected kinds joined by + \
      (\(ModuleKind.allCases.filter { $0 != .other }.map(\.rawValue).joined(separator: ", "))) \
      or endings of module paths separated by commas (attn2.to_k,attn2.to_v)
      """
    case .nothingFound(let name, let available):
      "no layer of the base model is meant by \"\(name)\"; it has\n" + available.map { "  \($0)" }.joined(separator: "\n")
    }
  }
}
