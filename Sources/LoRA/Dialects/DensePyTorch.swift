public import OrderedCollections

/// What mkshing/ziplora-pytorch saves (ziplora_pytorch/utils.py): the whole difference of each attention layer under
/// `unet.unet.….to_q.lora.weight`.
public struct DensePyTorchDialect: Dialect {
  public let name = "ziplora-pytorch"
  public let summary = "mkshing/ziplora-pytorch, merged: unet.unet.<layer>.lora.weight, whole matrices"

  public init() {}

  public func parse(_ key: String) -> AdapterKey? { key.hasPrefix("unet.") ? Self.suffixes.parse(key) : nil }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { Self.suffixes.key(stem, part) }

  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    base.spellings { component, module in component == .unet ? ["unet.unet.\(module)", "unet.\(module)"] : [] }
  }

  /// It is read only: a file of factors under these names would be none of ziplora-pytorch.
  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String> {
    throw MetadataError(
      key: "of \(name)", problem: "has no place for factors; write another dialect, which takes the base model (--base)")
  }

  private static let suffixes = KeySuffixes([(.diff, ".lora.weight")], common: [])
}
