internal import Foundation

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// The part of the Hugging Face cache that belongs to one model, in the layout that Python reads and writes too:
/// `blobs/HASH` with the contents, `snapshots/COMMIT/NAME` that link to them, `refs/REVISION` with commits,
/// `.no_exist/COMMIT/NAME` for files that a commit lacks (huggingface_hub: file_download.py).
struct HubCache: Sendable {
  let id: HubID
  let folder: String
  private let locks: String

  init(_ id: HubID, root: String) {
    self.id = id
    let name = "models--" + id.repository.replacing("/", with: "--")
    folder = "\(root)/\(name)"
    locks = "\(root)/.locks/\(name)"
  }

  /// The commit of the revision, as far as the cache knows it.
  var commit: String? {
    let isCommit = id.revision.count == 40 && id.revision.allSatisfy(\.isHexDigit)
    let reference = try? String(contentsOfFile: "\(folder)/refs/\(id.revision)", encoding: .utf8)
    return isCommit ? id.revision : reference?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  func snapshot(_ commit: String) -> String { "\(folder)/snapshots/\(commit)" }
  func blob(_ hash: String) -> String { "\(folder)/blobs/\(hash)" }

  /// A download under way, which may be continued.
  func incomplete(_ hash: String) -> String { "\(blob(hash)).incomplete" }

  func has(_ hash: String) -> Bool { FileManager.default.fileExists(atPath: blob(hash)) }

  /// Runs `body` while no other process, of this program or Python, fetches the same blob.
  func locked<Result>(_ hash: String, _ body: () async throws -> Result) async throws -> Result {
    try makeFolder(of: blob(hash))
    let path = "\(locks)/\(hash).lock"
    try makeFolder(of: path)
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw unwritable(path, String(cString: strerror(errno))) }
    defer { close(descriptor) }
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 { try await Task.sleep(for: .milliseconds(100)) }
    return try await body()
  }

  /// Gives a blob, whole and checked, its name.
  func publish(_ hash: String) throws {
    guard rename(incomplete(hash), blob(hash)) == 0 else {
      throw unwritable(blob(hash), String(cString: strerror(errno)))
    }
  }

  /// Makes a file of a snapshot a link to its blob.
  func link(_ name: String, of commit: String, to hash: String) throws {
    let path = "\(snapshot(commit))/\(name)"
    try makeFolder(of: path)
    let depth = name.count { $0 == "/" } + 2
    let target = String(repeating: "../", count: depth) + "blobs/\(hash)"
    guard (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) != target else { return }
    // A new link takes the place of another in one step.
    let temporary = "\(path).\(UInt64.random(in: 0 ... .max))"
    guard symlink(target, temporary) == 0, rename(temporary, path) == 0 else {
      throw unwritable(path, String(cString: strerror(errno)))
    }
  }

  /// Remembers which commit the revision was.
  func remember(_ commit: String) throws {
    guard commit != id.revision else { return }
    let path = "\(folder)/refs/\(id.revision)"
    try makeFolder(of: path)
    do {
      try commit.write(toFile: path, atomically: true, encoding: .utf8)
    } catch {
      throw unwritable(path, error.localizedDescription)
    }
  }

  private func absence(of name: String, in commit: String) -> String { "\(folder)/.no_exist/\(commit)/\(name)" }

  /// Whether a commit is known to have no such file.
  func isAbsent(_ name: String, in commit: String) -> Bool {
    FileManager.default.fileExists(atPath: absence(of: name, in: commit))
  }

  /// Remembers that a commit has no such file, so that the hub need not be asked again.
  func rememberAbsence(of name: String, in commit: String) throws {
    let path = absence(of: name, in: commit)
    try makeFolder(of: path)
    do {
      try Data().write(to: URL(filePath: path))
    } catch {
      throw unwritable(path, error.localizedDescription)
    }
  }

  private func makeFolder(of path: String) throws {
    let folder = (path as NSString).deletingLastPathComponent
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw unwritable(folder, error.localizedDescription)
    }
  }

  private func unwritable(_ path: String, _ reason: String) -> HubError {
    HubError(id: id, reason: .unwritable(path: path, reason: reason))
  }
}

/// A snapshot as it is.
struct CachedFiles: HubFiles {
  let cache: HubCache
  let commit: String
  /// Whether nothing more can be had: what is not there is nowhere.
  let isAll: Bool

  var folder: String { cache.snapshot(commit) }

  // Follows the link, which may lead nowhere.
  func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(folder)/\(name)") }
  func lacks(_ name: String) -> Bool { isAll ? !has(name) : cache.isAbsent(name, in: commit) }
  func data(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: "\(folder)/\(name)")) }
}
