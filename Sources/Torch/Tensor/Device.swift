internal import CTorch

/// Where tensors live and operations run. A value everywhere, never a global.
public struct Device: Sendable, Hashable, CustomStringConvertible {
  public enum Kind: Int, Sendable {
    case cpu = 0
    case cuda = 1
    case mps = 13
    case meta = 14
  }

  public let kind: Kind
  /// Which one; nil for the current one.
  public let index: Int?

  public init(_ kind: Kind, index: Int? = nil) {
    self.kind = kind
    self.index = index
  }

  public static let cpu = Device(.cpu)
  public static let cuda = Device(.cuda)
  public static let mps = Device(.mps)
  /// Shapes and types alone, without memory: for what a model would consist of.
  public static let meta = Device(.meta)

  /// Reads `cpu`, `cuda`, `cuda:1` or `mps`; nil for anything else.
  public init?(named name: String) {
    let parts = name.split(separator: ":", omittingEmptySubsequences: false)
    let kinds: [(String, Kind)] = [("cpu", .cpu), ("cuda", .cuda), ("mps", .mps)]
    guard let kind = kinds.first(where: { $0.0 == parts[0] })?.1, parts.count <= 2 else { return nil }
    if parts.count == 2 {
      guard let index = Int(parts[1]), (0..<255).contains(index) else { return nil }
      self.init(kind, index: index)
    } else {
      self.init(kind)
    }
  }

  /// Whether this build of libtorch can run on it.
  public var isAvailable: Bool {
    switch kind {
    case .cpu, .meta: true
    case .cuda: ct_has_cuda()
    case .mps: ct_has_mps()
    }
  }

  public var description: String {
    let name =
      switch kind {
      case .cpu: "cpu"
      case .cuda: "cuda"
      case .mps: "mps"
      case .meta: "meta"
      }
    return index.map { "\(name):\($0)" } ?? name
  }

  var code: Int64 { Int64(kind.rawValue) * 256 + Int64(index ?? 255) }

  init(code: Int64) {
    let index = Int(code % 256)
    // The CPU has no index; libtorch may still say 0.
    let kind = Kind(rawValue: Int(code / 256)) ?? .cpu
    self.init(kind, index: kind == .cpu || index == 255 ? nil : index)
  }
}
