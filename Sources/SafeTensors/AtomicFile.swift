public import Foundation

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// Files that appear whole or not at all.
///
/// The bytes go to a hidden temporary file in the target's folder, reach the disk, and only then take the target's name. A
/// failure on the way, thrown by the disk or by the caller, removes the temporary file and leaves an existing target as it
/// was; so does a crash, except that `.*.partial` stays behind. Readers that have the old file open or mapped keep it.
public enum AtomicFile {
  /// Writes `bytes` to `path`, replacing an existing file only if told to.
  public static func write(_ bytes: some ContiguousBytes, to path: String, overwrite: Bool = false) throws {
    try write(to: path, overwrite: overwrite) { output in try bytes.withUnsafeBytes(output.append) }
  }

  /// Writes `text` in UTF-8 to `path`, replacing an existing file only if told to.
  public static func write(_ text: String, to path: String, overwrite: Bool = false) throws {
    try write(Array(text.utf8), to: path, overwrite: overwrite)
  }

  /// Writes what `body` appends to `path`, replacing an existing file only if told to.
  ///
  /// - Throws: `AtomicFileError` where the disk refuses, and whatever `body` throws.
  public static func write(to path: String, overwrite: Bool = false, _ body: (Output) throws -> Void) throws {
    try checkTarget(path, overwrite: overwrite)
    let output = try Output(target: path)
    defer { output.discard() }
    try body(output)
    try output.publish(overwrite: overwrite)
  }

  /// Throws what `write` would throw now, for work that takes long before it has something to write.
  public static func check(_ path: String, overwrite: Bool = false) throws {
    try checkTarget(path, overwrite: overwrite)
    try Output(target: path).discard()
  }

  /// Refuses what can be refused before anything is computed or written.
  private static func checkTarget(_ path: String, overwrite: Bool) throws(AtomicFileError) {
    let folder = folder(of: path)
    var status = stat()
    guard stat(folder, &status) == 0 else { throw AtomicFileError(path, folder: folder, operation: "find", code: errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw AtomicFileError(path, .notAFolder(folder)) }
    guard !path.hasSuffix("/"), stat(path, &status) != 0 || status.st_mode & S_IFMT != S_IFDIR else {
      throw AtomicFileError(path, .targetIsFolder)
    }
    // lstat sees a link that leads nowhere, too.
    guard overwrite || lstat(path, &status) != 0 else { throw AtomicFileError(path, .exists) }
  }

  fileprivate static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

extension AtomicFile {
  /// The file being written; lives as long as the `body` of ``AtomicFile/write(to:overwrite:_:)``.
  public final class Output {
    private let target: String
    private let folder: String
    private let temporary: String
    private var descriptor: Int32
    private var byteCount = 0

    fileprivate init(target: String) throws(AtomicFileError) {
      self.target = target
      folder = AtomicFile.folder(of: target)
      // The name owes nothing to the target's, which may be as long as the file system allows. Chance decides it, so two
      // writers do not meet; O_EXCL makes sure.
      let mark = String(UInt64.random(in: .min ... .max), radix: 16)
      temporary = "\(folder)/.\(mark).partial"
      descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      guard descriptor >= 0 else {
        throw AtomicFileError(target, folder: folder, operation: "create a file", code: errno)
      }
    }

    /// Adds `bytes` at the end.
    public func append(_ bytes: UnsafeRawBufferPointer) throws(AtomicFileError) {
      var rest = bytes[...]
      while !rest.isEmpty {
        // Systems refuse or cut short a single write of 2 GiB and more.
        let count = systemWrite(descriptor, UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30)))
        if count < 0 {
          if errno == EINTR { continue }
          throw error("write after \(byteCount) bytes", errno)
        }
        byteCount += count
        rest = rest.dropFirst(count)
      }
    }

    /// Brings the bytes to the disk, gives the file its name and brings the folder to the disk.
    fileprivate func publish(overwrite: Bool) throws(AtomicFileError) {
      guard synchronize(descriptor) else { throw error("write", errno) }
      // Some file systems report a full disk only on closing.
      let closed = close(descriptor)
      descriptor = -1
      guard closed == 0 else { throw error("write", errno) }
      if overwrite { try rename() } else { try linkOrRename() }
      // The name is in place now; a folder that cannot be opened or synchronized merely makes it durable later.
      let folderDescriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard folderDescriptor >= 0 else { return }
      _ = synchronize(folderDescriptor)
      close(folderDescriptor)
    }

    private func rename() throws(AtomicFileError) {
      guard systemRename(temporary, target) == 0 else { throw error("rename", errno) }
    }

    /// Takes the target's name only if it is free, in one step: unlike renaming, linking never replaces.
    private func linkOrRename() throws(AtomicFileError) {
      if link(temporary, target) == 0 {
        unlink(temporary)
        return
      }
      switch errno {
      case EEXIST: throw AtomicFileError(target, .exists)
      // A file system without hard links: the check before writing must do.
      case EPERM, ENOTSUP, EOPNOTSUPP, ENOSYS, EMLINK: try rename()
      case let code: throw error("link", code)
      }
    }

    /// Removes what is left of the temporary file: nothing after `publish`.
    fileprivate func discard() {
      if descriptor >= 0 { close(descriptor) }
      unlink(temporary)
    }

    private func error(_ operation: String, _ code: Int32) -> AtomicFileError {
      AtomicFileError(target, folder: folder, operation: operation, code: code)
    }
  }
}

// Free functions, for inside `Output` these names mean its own methods.

private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
  write(descriptor, bytes.baseAddress, bytes.count)
}

private func systemRename(_ old: String, _ new: String) -> Int32 { rename(old, new) }

/// Waits until the file or folder is on the disk.
private func synchronize(_ descriptor: Int32) -> Bool {
  #if canImport(Darwin)
    // fsync on Darwin stops at the drive's cache.
    if fcntl(descriptor, F_FULLFSYNC) == 0 { return true }
  #endif
  return fsync(descriptor) == 0
}
