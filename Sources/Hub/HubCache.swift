internal import Foundation
internal import SafeTensors

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// The part of the Hugging Face cache that belongs to one model, in the layout that Python reads and writes too:
/// `blobs/HASH` with the contents, `snapshots/COMMIT/NAME` that link to them, `refs/REVISION` with commits,
/// `.no_exist/COMMIT/NAME` for files that a commit lacks, and, read only, `trees/COMMIT.json` with the names of all that it has
/// (huggingface_hub: file_download.py, _tree_cache.py).
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

  func has(_ hash: String) -> Bool { FileManager.default.fileExists(atPath: blob(hash)) }

  /// Runs `body` while no other process, of this program or Python, fetches the same blob, and tells it where to put what comes.
  ///
  /// That is a file with which the next run goes on if this one ends before. Without a lock, or where another user's file cannot be
  /// continued, it is one that nobody else writes to, and that goes if it has not become whole: then the same may be fetched
  /// twice, but what is published is right (huggingface_hub: file_download.py, utils/_fixes.py WeakFileLock).
  func locked<Result>(_ hash: String, _ body: (_ partial: String) async throws -> Result) async throws -> Result {
    try makeFolder(of: blob(hash))
    let lock = try await lock(hash)
    defer { if let lock { close(lock) } }
    let shared = "\(blob(hash)).incomplete"
    let isShared = lock != nil && (access(shared, F_OK) != 0 || access(shared, R_OK | W_OK) == 0)
    let partial = isShared ? shared : "\(blob(hash)).\(UInt64.random(in: 0 ... .max)).incomplete"
    defer { if !isShared { unlink(partial) } }
    return try await body(partial)
  }

  /// Waits for the lock of a blob.
  ///
  /// - Returns: the descriptor that holds it; nil where there is none to be had, on file systems that know no locks, say.
  private func lock(_ hash: String) async throws -> Int32? {
    let path = "\(locks)/\(hash).lock"
    guard (try? makeFolder(of: path)) != nil else { return nil }
    var descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o664)
    if descriptor >= 0 {
      // Whatever the umask, others of the group shall be able to wait for it, as with Python.
      fchmod(descriptor, 0o664)
    } else {
      // Another user's: to read will do.
      descriptor = open(path, O_RDONLY | O_CLOEXEC)
    }
    guard descriptor >= 0 else { return nil }
    do {
      while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
        guard errno == EWOULDBLOCK || errno == EINTR else {
          close(descriptor)
          return nil
        }
        try await Task.sleep(for: .milliseconds(100))
      }
    } catch {
      close(descriptor)
      throw error
    }
    return descriptor
  }

  /// Gives a blob, whole and checked, its name.
  func publish(_ partial: String, as hash: String) throws {
    guard rename(partial, blob(hash)) == 0 else {
      throw unwritable(blob(hash), String(cString: strerror(errno)))
    }
  }

  /// Makes a file of a snapshot a link to its blob.
  func link(_ name: String, of commit: String, to hash: String) throws {
    let path = "\(snapshot(commit))/\(name)"
    try makeFolder(of: path)
    let depth = name.utf8.count { $0 == UInt8(ascii: "/") } + 2
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
      throw unwritable(path, error.systemReason)
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
      throw unwritable(path, error.systemReason)
    }
  }

  /// The names of all files of a commit, where Python has listed them.
  func names(of commit: String) -> Set<String>? {
    guard let data = FileManager.default.contents(atPath: "\(folder)/trees/\(commit).json"),
      let tree = try? JSONDecoder().decode(Tree.self, from: data), tree.format_version == 1
    else { return nil }
    return Set(tree.files.keys)
  }

  private struct Tree: Decodable {
    struct File: Decodable {}

    let format_version: Int
    let files: [String: File]
  }

  private func makeFolder(of path: String) throws {
    let folder = (path as NSString).deletingLastPathComponent
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw unwritable(folder, error.systemReason)
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
  let isAll: Bool
  private let names: Set<String>?

  init(cache: HubCache, commit: String, isAll: Bool) {
    (self.cache, self.commit, self.isAll) = (cache, commit, isAll)
    names = cache.names(of: commit)
  }

  var folder: String { cache.snapshot(commit) }

  func presence(of name: String) -> HubPresence {
    // Follows the link, which may lead nowhere.
    if FileManager.default.fileExists(atPath: "\(folder)/\(name)") { return .here }
    if let names { return names.contains(name) ? .elsewhere : .absent }
    return cache.isAbsent(name, in: commit) ? .absent : .unknown
  }

  func data(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: "\(folder)/\(name)")) }
}
