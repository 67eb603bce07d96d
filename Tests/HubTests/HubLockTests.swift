import Foundation
import Hub
import TestHub
import Testing

/// Caches that several processes and users share.
@Suite(.onOwnThreads) struct HubLockTests {
  private let cache: TemporaryCache
  private let model = FakeModel()
  private static let large = FakeModel.path(of: FakeModel.large)

  init() throws { cache = try TemporaryCache() }

  private func fetch(_ server: ScriptedServer) async throws {
    _ = try await cache.hub(server).snapshot(of: FakeModel.id, .pipeline(variant: nil))
  }

  private var unfinished: [String] { cache.files("\(cache.model)/blobs").filter { $0.hasSuffix(".incomplete") } }

  @Test("where no lock can be had, files come all the same, under names of their own until they are whole")
  func withoutLocks() async throws {
    try FileManager.default.createDirectory(atPath: cache.path, withIntermediateDirectories: true)
    // In place of the folder of locks.
    try Data().write(to: URL(filePath: "\(cache.path)/.locks"))
    let (cache, model) = (cache, model)
    let blob = "\(cache.model)/blobs/\(model.hash(FakeModel.large))"
    // Another process's, which fetches the same at the same time.
    try FileManager.default.createDirectory(atPath: "\(cache.model)/blobs", withIntermediateDirectories: true)
    try Data([1, 2, 3]).write(to: URL(filePath: "\(blob).incomplete"))
    let cut = try ScriptedServer { request, count in
      guard request.path == Self.large else { return model.answer(request) }
      guard count == 0 else { return Answer(status: 403) }
      return Answer(headers: ["Content-Length": "50000"], body: Array(model.files[FakeModel.large]!.prefix(100)), cut: true)
    }
    await #expect(throws: HubError.self) { try await fetch(cut) }
    #expect(unfinished == ["\(model.hash(FakeModel.large)).incomplete"])

    try await fetch(ScriptedServer { request, _ in model.answer(request) })
    for name in FakeModel.needed { #expect(try cache.bytes(name) == model.files[name]) }
    #expect(try Data(contentsOf: URL(filePath: "\(blob).incomplete")) == Data([1, 2, 3]))
  }

  @Test("a lock that another process holds is waited for")
  func waiting() async throws {
    let model = model
    let folder = "\(cache.path)/.locks/models--org--tiny"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let descriptor = open("\(folder)/\(model.hash(FakeModel.large)).lock", O_RDWR | O_CREAT, 0o644)
    try #require(descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0)
    defer { close(descriptor) }
    let server = try ScriptedServer { request, _ in model.answer(request) }
    let download = Task { try await fetch(server) }
    try await Task.sleep(for: .milliseconds(300))
    #expect(!server.paths.contains(Self.large))
    flock(descriptor, LOCK_UN)
    try await download.value
    #expect(try cache.bytes(FakeModel.large) == model.files[FakeModel.large])
  }

  @Test("locks are open to the group, as Python's are")
  func modes() async throws {
    let model = model
    try await fetch(ScriptedServer { request, _ in model.answer(request) })
    let locks = cache.files("\(cache.path)/.locks")
    #expect(locks.count == FakeModel.needed.count)
    for lock in locks {
      let attributes = try FileManager.default.attributesOfItem(atPath: "\(cache.path)/.locks/\(lock)")
      #expect(attributes[.posixPermissions] as? Int == 0o664)
    }
  }
}
