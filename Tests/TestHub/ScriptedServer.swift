internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

public struct Request: Sendable {
  public let path: String
  /// By name in lower case.
  public let headers: [String: String]
}

public struct Answer: Sendable {
  public var status: Int
  public var headers: [String: String]
  public var body: [UInt8]
  /// Whether the connection ends in the middle of the answer.
  public var cut: Bool

  public init(status: Int = 200, headers: [String: String] = [:], body: [UInt8] = [], cut: Bool = false) {
    self.status = status
    self.headers = headers
    self.body = body
    self.cut = cut
  }
}

/// A web server on this machine that answers what a test says.
public final class ScriptedServer: Sendable {
  private let channel: any Channel
  private let journal = Journal()

  /// - Parameter script: gets a request and how many there were of that path before it.
  public init(_ script: @escaping @Sendable (_ request: Request, _ count: Int) -> Answer) throws {
    channel = try ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .childChannelInitializer { [journal] channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(Handler { script($0, journal.add($0)) })
        }
      }
      .bind(host: "127.0.0.1", port: 0).wait()
  }

  deinit { channel.close(promise: nil) }

  public var address: String { "http://127.0.0.1:\(channel.localAddress?.port ?? 0)" }
  public var requests: [Request] { journal.requests }
  public var paths: [String] { requests.map(\.path) }
}

/// What was asked for.
private final class Journal: Sendable {
  private let entries = Mutex<[Request]>([])

  var requests: [Request] { entries.withLock { $0 } }

  /// - Returns: how many requests of that path there were before.
  func add(_ request: Request) -> Int {
    entries.withLock { entries in
      defer { entries.append(request) }
      return entries.count { $0.path == request.path }
    }
  }
}

private final class Handler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let answer: @Sendable (Request) -> Answer
  private var head: HTTPRequestHead?

  init(_ answer: @escaping @Sendable (Request) -> Answer) { self.answer = answer }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): self.head = head
    case .body: break
    case .end: if let head { respond(to: head, context) }
    }
  }

  private func respond(to head: HTTPRequestHead, _ context: ChannelHandlerContext) {
    let headers = Dictionary(head.headers.map { ($0.name.lowercased(), $0.value) }) { $1 }
    let answer = answer(Request(path: head.uri, headers: headers))
    var response = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status))
    for (name, value) in answer.headers { response.headers.add(name: name, value: value) }
    context.write(wrapOutboundOut(.head(response)), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
    if answer.cut {
      context.close(promise: nil)
    } else {
      context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }
  }
}
