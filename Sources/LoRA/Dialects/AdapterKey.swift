/// A key taken apart: the name of a layer in the dialect's spelling, and which of its tensors it is.
public struct AdapterKey: Hashable, Sendable {
  /// Which tensor of a layer.
  ///
  /// A part is called what kohya and LyCORIS call it. Each `LayerForm` has its own parts; a dialect maps its spelling to them.
  public struct Part: Hashable, Sendable, CustomStringConvertible {
    public let name: String

    public init(_ name: String) { self.name = name }

    public var description: String { name }

    /// The alpha of a layer of any form.
    public static let alpha = Part("alpha")
  }

  public let stem: String
  public let part: Part

  public init(_ stem: String, _ part: Part) {
    self.stem = stem
    self.part = part
  }
}

/// What stands behind the name of a layer in the keys of one dialect.
struct KeySuffixes {
  /// The dialect's own spelling of parts. The first one of a part is written.
  let own: [(part: AdapterKey.Part, suffix: String)]
  /// Parts that are spelt as in kohya's files.
  let common: [AdapterKey.Part]
  private let all: [(part: AdapterKey.Part, suffix: String)]

  init(_ own: [(part: AdapterKey.Part, suffix: String)], common: [AdapterKey.Part]) {
    self.own = own
    self.common = common
    all = own + common.map { ($0, ".\($0)") }
  }

  func parse(_ key: String) -> AdapterKey? {
    all.first { key.hasSuffix($0.suffix) }.map { AdapterKey(String(key.dropLast($0.suffix.count)), $0.part) }
  }

  func key(_ stem: String, _ part: AdapterKey.Part) -> String {
    stem + (own.first { $0.part == part }?.suffix ?? ".\(part)")
  }

  /// Whether the key ends in one of the dialect's own ways. Magnitudes are called alike beside halves of every spelling.
  func owns(_ key: String) -> Bool { own.contains { $0.part != Magnitude.vector && key.hasSuffix($0.suffix) } }
}
