internal import AsyncHTTPClient
internal import Crypto
internal import Foundation
internal import NIOCore
internal import NIOFoundationCompat
internal import NIOHTTP1
internal import SafeTensors

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// Reads from the hub, through cut connections and servers that are busy.
struct HubServer {
  let client: HTTPClient
  let id: HubID
  let environment: HubEnvironment
  /// Before the first repetition; doubled before each further one.
  let backoff: Duration

  /// How often in a row an address may fail without having sent anything new.
  private static let attempts = 5
  /// Answers that pass with time.
  private static let passing: Set<UInt> = [408, 429, 500, 502, 503, 504]

  /// - Throws: `HubError` for a proxy that cannot be used.
  static func configuration(through proxy: HubProxy?, for id: HubID) throws -> HTTPClient.Configuration {
    // A redirection to another host is followed without the token (AsyncHTTPClient: RedirectState.swift).
    var configuration = HTTPClient.Configuration(
      redirectConfiguration: .follow(max: 5, allowCycles: false),
      timeout: .init(connect: .seconds(10), read: .seconds(60)))
    // Tries are repeated here.
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.proxy = try proxy?.configuration(for: id)
    return configuration
  }

  /// Something that may go better next time.
  private struct Passing: Error {
    var reason: HubError.Reason
    var wait: Duration?
  }

  // MARK: listing

  /// - Parameter commit: nil for the newest one of the id's revision.
  func listing(of commit: String? = nil) async throws -> HubListing {
    let revision = (commit ?? id.revision).replacing("/", with: "%2F")
    let address = "\(environment.endpoint)/api/models/\(id.repository)/revision/\(revision)?blobs=true"
    let data = try await repeating(address, progress: { 0 }) {
      let response = try await get(address)
      try check(response, address)
      return Data(buffer: try await response.body.collect(upTo: 64 << 20))
    }
    return try HubListing(data, of: id)
  }

  // MARK: files

  /// Fetches a file to `path`, from where an earlier try ended, and makes sure that it is the one listed.
  ///
  /// - Parameter report: hears how many bytes are there.
  func download(
    _ name: String, _ file: HubListing.File, at commit: String, to path: String, report: @Sendable (Int) -> Void
  ) async throws {
    let encoded = name.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? name
    let address = "\(environment.endpoint)/\(id.repository)/resolve/\(commit)/\(encoded)"
    let partial = try PartialFile(path, of: id)
    try await repeating(address, progress: { partial.count }) {
      let resumed = partial.count > 0
      if partial.count > file.size { try partial.truncate() }
      if partial.count < file.size { try await receive(name, file, address, partial, report: report) }
      guard try partial.hash(isGitBlob: file.isGitBlob) == file.hash else {
        try partial.truncate()
        let reason = HubError.Reason.wrongContent(file: name, expected: file.hash)
        // What an earlier try left may have been broken.
        if resumed { throw Passing(reason: reason) }
        throw HubError(id: id, reason: reason)
      }
    }
    try partial.close()
  }

  /// One try to get the rest of a file.
  private func receive(
    _ name: String, _ file: HubListing.File, _ address: String, _ partial: PartialFile, report: @Sendable (Int) -> Void
  ) async throws {
    let response = try await get(address, from: partial.count)
    switch response.status {
    case .partialContent:
      let expected = "bytes \(partial.count)-\(file.size - 1)/\(file.size)"
      guard let range = response.headers.first(name: "Content-Range"), range == expected else { fallthrough }
    case .rangeNotSatisfiable:
      try partial.truncate()
      throw Passing(reason: .unreachable("another part came than was asked for", address: address))
    default:
      try check(response, address)
      // A server that knows no ranges begins again.
      try partial.truncate()
    }
    func lengthError(_ found: String) -> HubError {
      HubError(id: id, reason: .wrongLength(file: name, found: found, expected: file.size))
    }
    if let stated = response.headers.first(name: "Content-Length"), let length = Int(stated),
      length != file.size - partial.count
    {
      let (all, isBeyondAll) = partial.count.addingReportingOverflow(length)
      throw lengthError(isBeyondAll ? "more" : "\(all)")
    }
    for try await chunk in response.body {
      guard partial.count + chunk.readableBytes <= file.size else { throw lengthError("more") }
      try partial.append(chunk)
      report(partial.count)
    }
    guard partial.count == file.size else {
      throw Passing(reason: .unreachable("the connection ended after \(partial.count) of \(file.size) bytes", address: address))
    }
  }

  // MARK: requests

  private func get(_ address: String, from start: Int = 0) async throws -> HTTPClientResponse {
    var request = HTTPClientRequest(url: address)
    request.headers.add(name: "User-Agent", value: "ziplora")
    if let token = environment.token {
      guard token.utf8.allSatisfy({ (UInt8(ascii: "!")...UInt8(ascii: "~")).contains($0) }) else {
        throw HubError(id: id, reason: .malformedToken(endpoint: environment.endpoint))
      }
      request.headers.add(name: "Authorization", value: "Bearer \(token)")
    }
    if start > 0 { request.headers.add(name: "Range", value: "bytes=\(start)-") }
    // No limit to how long it takes as long as something comes.
    return try await client.execute(request, deadline: .distantFuture)
  }

  private func check(_ response: HTTPClientResponse, _ address: String) throws {
    switch response.status.code {
    case 200..<300: return
    case 401, 403:
      throw HubError(
        id: id, reason: .unauthorized(hasToken: environment.token != nil, endpoint: environment.endpoint))
    case 404: throw HubError(id: id, reason: .notFound(endpoint: environment.endpoint))
    case let code:
      let reason = HubError.Reason.status(Int(code), address: address)
      guard Self.passing.contains(code) else { throw HubError(id: id, reason: reason) }
      let wait = response.headers.first(name: "Retry-After").flatMap(Int.init)
      throw Passing(reason: reason, wait: wait.map { .seconds(min($0, 60)) })
    }
  }

  /// Tries again what fails, later each time, as long as it may go better.
  ///
  /// - Parameter progress: what grows when a try, though it failed, was not in vain.
  private func repeating<Result>(
    _ address: String, progress: () -> Int, _ body: () async throws -> Result
  ) async throws -> Result {
    var (failures, reached) = (0, progress())
    while true {
      do {
        return try await body()
      } catch let error where error is HubError || error is CancellationError {
        throw error
      } catch {
        try Task.checkCancellation()
        if progress() > reached { failures = 0 }
        (failures, reached) = (failures + 1, progress())
        let passing = error as? Passing
        // What a proxy wants to be told does not come with time.
        let isFinal = error as? HTTPClientError == .proxyAuthenticationRequired
        guard failures < Self.attempts, !isFinal else {
          throw HubError(id: id, reason: passing?.reason ?? .unreachable(cause(error), address: address))
        }
        try await Task.sleep(for: passing?.wait ?? backoff * (1 << (failures - 1)))
      }
    }
  }

  /// What went wrong, and with which proxy between, as that may be why.
  private func cause(_ error: any Error) -> String {
    guard let proxy = environment.proxy else { return "\(error)" }
    let isClosed = error as? HTTPClientError == .proxyAuthenticationRequired
    return "\(error), through the proxy \(proxy)" + (isClosed ? ", which expects another USER:PASSWORD@ before its name" : "")
  }
}

/// The beginning of a file.
private final class PartialFile {
  private let path: String
  private let id: HubID
  private let handle: FileHandle
  private(set) var count: Int

  /// Opens or makes it.
  init(_ path: String, of id: HubID) throws {
    (self.path, self.id) = (path, id)
    // As the umask has it, like what Python writes: others of a group that shares the cache go on with it.
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw HubError(id: id, reason: .unwritable(path: path, reason: String(cString: strerror(errno))))
    }
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    count = Int(try handle.seekToEnd())
  }

  func append(_ chunk: ByteBuffer) throws {
    try writing { try handle.write(contentsOf: Data(buffer: chunk)) }
    count += chunk.readableBytes
  }

  func truncate() throws {
    try writing {
      try handle.truncate(atOffset: 0)
      try handle.seek(toOffset: 0)
    }
    count = 0
  }

  /// Brings the content to the disk.
  func close() throws {
    try writing {
      try handle.synchronize()
      try handle.close()
    }
  }

  /// The hash of the content under which the hub lists it.
  func hash(isGitBlob: Bool) throws -> String {
    if isGitBlob {
      var hash = Insecure.SHA1()
      hash.update(data: Data("blob \(count)\0".utf8))
      return try digest(&hash)
    }
    var hash = SHA256()
    return try digest(&hash)
  }

  private func digest(_ hash: inout some HashFunction) throws -> String {
    try handle.seek(toOffset: 0)
    while let piece = try handle.read(upToCount: 1 << 22), !piece.isEmpty { hash.update(data: piece) }
    return hash.finalize().map(hexadecimal).joined()
  }

  private func writing(_ body: () throws -> Void) throws {
    do {
      try body()
    } catch {
      throw HubError(id: id, reason: .unwritable(path: path, reason: error.systemReason))
    }
  }
}
