#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// A file mapped read-only into memory, unmapped when the last reference goes.
///
/// Pages are read on first touch, so opening a file of many gigabytes costs nothing. Whoever keeps a pointer into `bytes`
/// (a tensor made on the mapped memory, say) must keep the mapping too. Writing to the memory traps, and so does reading
/// pages of a file that another process has cut short meanwhile; a file replaced by `AtomicFile` is safe, because the
/// mapping keeps the old contents.
public final class FileMapping: Sendable {
  /// The whole file. Immutable for the life of the mapping, hence free to cross threads.
  public nonisolated(unsafe) let bytes: UnsafeRawBufferPointer
  private let descriptor: Int32

  /// Maps the file at `path`, which must be a regular file.
  init(path: String) throws(SafeTensorsError) {
    // O_NONBLOCK: a named pipe must be refused below, not waited for.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.unreadable(path) }
    do throws(SafeTensorsError) {
      bytes = try Self.mapped(descriptor, path)
      self.descriptor = descriptor
    } catch {
      close(descriptor)
      throw error
    }
  }

  private static func mapped(_ descriptor: Int32, _ path: String) throws(SafeTensorsError) -> UnsafeRawBufferPointer {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw unreadable(path) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw SafeTensorsError(path, .notAFile) }
    // A mapping of no bytes is an error of mmap, and no safetensors file is that short.
    guard status.st_size >= 8 else { throw SafeTensorsError(path, .tooShort(byteCount: Int(status.st_size))) }
    guard let start = mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
      throw unreadable(path)
    }
    return UnsafeRawBufferPointer(start: start, count: Int(status.st_size))
  }

  /// Copies a part of `bytes`, without the many pages around it that the first touch of one brings along.
  func copy(_ part: UnsafeRawBufferPointer, to buffer: UnsafeMutableRawBufferPointer) {
    let offset = part.baseAddress! - bytes.baseAddress!
    if pread(descriptor, buffer.baseAddress, part.count, off_t(offset)) != part.count { buffer.copyMemory(from: part) }
  }

  /// Gives back the pages that lie wholly within a part of `bytes`.
  func release(_ part: UnsafeRawBufferPointer) {
    guard let start = part.baseAddress else { return }
    let page = Int(getpagesize())
    let begin = (Int(bitPattern: start) + page - 1) / page * page
    let end = (Int(bitPattern: start) + part.count) / page * page
    // Advice: nothing depends on its being taken, and the pages of a read-only mapping can always be read again.
    if begin < end { _ = madvise(UnsafeMutableRawPointer(bitPattern: begin), end - begin, MADV_DONTNEED) }
  }

  private static func unreadable(_ path: String) -> SafeTensorsError {
    SafeTensorsError(path, .unreadable(String(cString: strerror(errno))))
  }

  deinit {
    munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
    close(descriptor)
  }
}
