/// A model on the Hugging Face hub: `organisation/name`, or `organisation/name@revision`.
public struct HubID: Hashable, Sendable, CustomStringConvertible {
  public let repository: String
  /// A branch, a tag or a commit.
  public let revision: String

  /// Reads an id as a user writes it; nil for what cannot be one, such as a path with more or fewer parts.
  public init?(_ text: String) {
    let halves = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let names = halves[0].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard names.count == 2, names.allSatisfy(Self.isName), !text.hasSuffix(".safetensors") else { return nil }
    repository = halves[0]
    revision = halves.count == 2 ? halves[1] : "main"
    guard revision.split(separator: "/", omittingEmptySubsequences: false).map(String.init).allSatisfy(Self.isName) else {
      return nil
    }
  }

  private static func isName(_ name: String) -> Bool {
    guard let first = name.first, first != ".", first != "-", !name.contains("..") else { return false }
    return name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
  }

  public var description: String { revision == "main" ? repository : "\(repository)@\(revision)" }
}
