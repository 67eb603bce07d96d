internal import Foundation

/// The files of a repository at one commit, as the hub lists them (`/api/models/ID/revision/REVISION?blobs=true`).
struct HubListing: Sendable {
  struct File: Sendable {
    let size: Int
    /// The name of its blob: the SHA-256 of large files, git's own for the others.
    let hash: String

    /// Whether the hash is that of git, SHA-1 over a header and the content.
    var isGitBlob: Bool { hash.count == 40 }
  }

  let commit: String
  let files: [String: File]

  private struct Answer: Decodable {
    struct Sibling: Decodable {
      struct LargeFile: Decodable {
        let sha256: String
        let size: Int
      }

      let rfilename: String
      let size: Int?
      let blobId: String?
      let lfs: LargeFile?
    }

    let sha: String
    let siblings: [Sibling]
  }

  init(_ data: Data, of id: HubID) throws {
    let answer: Answer
    do {
      answer = try JSONDecoder().decode(Answer.self, from: data)
    } catch {
      throw HubError(id: id, reason: .malformedListing("no JSON with sha and siblings"))
    }
    commit = answer.sha
    var files: [String: File] = [:]
    for sibling in answer.siblings {
      guard let hash = sibling.lfs?.sha256 ?? sibling.blobId, let size = sibling.lfs?.size ?? sibling.size else {
        throw HubError(id: id, reason: .malformedListing("\(sibling.rfilename) has no size and hash"))
      }
      // They become names in the cache.
      guard Self.isInside(sibling.rfilename) else { throw HubError(id: id, reason: .unsafeName(sibling.rfilename)) }
      for part in [hash, commit] where !Self.isHash(part) { throw HubError(id: id, reason: .unsafeName(part)) }
      // Beyond it there is no disk, only overflow.
      guard 0...(1 << 50) ~= size else {
        throw HubError(id: id, reason: .malformedListing("\(sibling.rfilename) has a size of \(size)"))
      }
      files[sibling.rfilename] = File(size: size, hash: hash)
    }
    self.files = files
  }

  /// Why a repository that lacks these files cannot be used, with what it has in their place.
  func reason(lacking missing: [String], for selection: HubSelection) -> HubError.Reason {
    let hasPickles = missing.contains { $0.hasSuffix(".safetensors") && isPickled($0) }
    let (top, option): (String, String?) =
      switch selection {
      case .pipeline: ("model_index.json", "--base")
      case .autoencoder: ("config.json", "--vae")
      default: ("", nil)
      }
    let isOther = missing.contains(top)
    guard let option, isOther || hasPickles else { return .lacks(missing, hasPickles: hasPickles) }
    let singleFiles = files.keys.filter { !$0.contains("/") && $0.hasSuffix(".safetensors") }.sorted()
    // A model in one file lacks all of the layout, which one name says as well.
    let isOneFile = missing.first == "model_index.json" && !singleFiles.isEmpty
    return .lacks(
      isOneFile ? [missing[0]] : missing, hasPickles: hasPickles, singleFiles: singleFiles, option: option)
  }

  /// Whether weights that are missing are there as pickles, and in no other form.
  private func isPickled(_ weights: String) -> Bool {
    let stem = weights.prefix { $0 != "." }
    let folder = weights.prefix(through: weights.lastIndex(of: "/") ?? weights.startIndex)
    let depth = weights.utf8.count { $0 == UInt8(ascii: "/") }
    let siblings = files.keys.filter {
      $0.utf8.count { $0 == UInt8(ascii: "/") } == depth && (depth == 0 || $0.hasPrefix(folder))
    }
    return siblings.contains { $0.hasSuffix(".bin") }
      && !siblings.contains { $0.hasPrefix(stem) && $0.hasSuffix(".safetensors") }
  }

  /// By bytes, as the system sees names: a combining mark after a slash would hide it from Swift's characters.
  private static func isInside(_ path: String) -> Bool {
    !path.utf8.contains(UInt8(ascii: "\\")) && !path.utf8.contains(0)
      && path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { part in
        !["", ".", ".."].contains { part.elementsEqual($0.utf8) }
      }
  }

  private static func isHash(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { Character(.init($0)).isHexDigit } }
}
