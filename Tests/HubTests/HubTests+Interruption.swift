import Foundation
import Hub
import TestHub
import Testing

/// Downloads that end before their time, and go on.
extension HubTests {
  @Test("connections that are cut go on where they ended")
  func cuts() async throws {
    let server = try server { [model] request, count in
      guard request.path == Self.large, count < 7 else { return nil }
      var answer = model.answer(request)
      answer.headers["Content-Length"] = "\(answer.body.count)"
      answer.body = Array(answer.body.prefix(6000))
      answer.cut = true
      return answer
    }
    _ = try await fetch(server)
    #expect(try isWhole())
    let ranges = server.requests.filter { $0.path == Self.large }.map { $0.headers["range"] }
    #expect(ranges.count == 8 && ranges[0] == nil)
    #expect(ranges.dropFirst().allSatisfy { $0 != nil })
  }

  @Test("a download that was stopped goes on in the next run, and a broken rest is fetched anew")
  func resumption() async throws {
    let broken = try server { request, _ in request.path == Self.large ? Answer(status: 403) : nil }
    _ = try await failure(broken)
    let partial = "\(cache.model)/blobs/\(model.hash(FakeModel.large)).incomplete"
    let content = model.files[FakeModel.large]!
    try Data(content.prefix(30_000)).write(to: URL(filePath: partial))
    let server = try server()
    _ = try await fetch(server)
    #expect(server.requests.first { $0.path == Self.large }?.headers["range"] == "bytes=30000-")
    #expect(try isWhole())

    let other = try TemporaryCache()
    try FileManager.default.createDirectory(atPath: "\(other.model)/blobs", withIntermediateDirectories: true)
    try Data(content.prefix(30_000).reversed())
      .write(to: URL(filePath: "\(other.model)/blobs/\(model.hash(FakeModel.large)).incomplete"))
    _ = try await other.hub(server).snapshot(of: FakeModel.id, .pipeline(variant: nil))
    #expect(try other.bytes(FakeModel.large) == content)
  }

  @Test("a server without ranges, and one that sends another part, make the download begin again", arguments: [200, 206, 416])
  func ranges(status: Int) async throws {
    let server = try server { [model] request, count in
      guard request.path == Self.large, count < 2 else { return nil }
      let content = model.files[FakeModel.large]!
      if count == 0 {
        return Answer(headers: ["Content-Length": "\(content.count)"], body: Array(content.prefix(100)), cut: true)
      }
      switch status {
      case 200: return Answer(body: content)
      case 206:
        return Answer(
          status: 206, headers: ["Content-Range": "bytes 7-\(content.count - 1)/\(content.count)"], body: Array(content[7...]))
      default: return Answer(status: status)
      }
    }
    _ = try await fetch(server)
    #expect(try isWhole())
  }

  @Test("a download that is asked to stop stops, and keeps what came")
  func stopping() async throws {
    let server = try server { [model] request, _ in
      guard request.path == Self.large else { return nil }
      // Ends in the middle: the next try would be in a minute.
      var answer = model.answer(request)
      answer.headers["Content-Length"] = nil
      answer.body = Array(answer.body.prefix(10_000))
      answer.cut = true
      return answer
    }
    let hub = Hub(HubEnvironment(cache: cache.path, endpoint: server.address), backoff: .seconds(60))
    // In a task of its own: the test's must not be cancelled.
    let download = Task {
      try await hub.snapshot(of: FakeModel.id, .pipeline(variant: nil)) { progress in
        #expect(progress.total > 50_000)
        if progress.bytes > 5000 { withUnsafeCurrentTask { $0?.cancel() } }
      }
    }
    await #expect(throws: CancellationError.self) { try await download.value }
    let partial = "\(cache.model)/blobs/\(model.hash(FakeModel.large)).incomplete"
    let kept = try Data(contentsOf: URL(filePath: partial))
    #expect(!kept.isEmpty && kept == Data(model.files[FakeModel.large]!.prefix(kept.count)))
  }
}
