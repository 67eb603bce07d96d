internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// A proxy on this machine, of HTTP or of SOCKS 5, that leads to one server wherever a client wants to go.
public final class TunnelProxy: Sendable {
  private let channel: any Channel
  private let journal = Journal()

  public init(to server: ScriptedServer) throws {
    let port = Int(server.address.split(separator: ":").last ?? "") ?? 0
    channel = try ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .childChannelInitializer { [journal] channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Tunnel(to: port, journal))
        }
      }
      .bind(host: "127.0.0.1", port: 0).wait()
  }

  deinit { channel.close(promise: nil) }

  /// Its host and port.
  public var address: String { "127.0.0.1:\(channel.localAddress?.port ?? 0)" }
  /// What clients have asked for, one for each connection.
  public var heads: [String] { journal.heads.withLock { $0 } }
}

private final class Journal: Sendable {
  let heads = Mutex<[String]>([])
}

private final class Tunnel: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let port: Int
  private let journal: Journal
  private var head: [UInt8] = []
  private var hasGreeted = false
  private var server: (any Channel)?

  init(to port: Int, _ journal: Journal) { (self.port, self.journal) = (port, journal) }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let buffer = unwrapInboundIn(data)
    if let server { return server.writeAndFlush(buffer, promise: nil) }
    head += buffer.readableBytesView
    if head.first == 5, !hasGreeted {
      (hasGreeted, head) = (true, [])
      context.channel.writeAndFlush(ByteBuffer(bytes: [5, 0]), promise: nil)
    } else if hasGreeted {
      connect(context, answer: [5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    } else if head.suffix(4) == Array("\r\n\r\n".utf8) {
      connect(context, answer: Array("HTTP/1.1 200 OK\r\n\r\n".utf8))
    }
  }

  func channelInactive(context: ChannelHandlerContext) { server?.close(promise: nil) }

  private func connect(_ context: ChannelHandlerContext, answer: [UInt8]) {
    journal.heads.withLock { $0.append(String(decoding: head, as: UTF8.self)) }
    let client = context.channel
    ClientBootstrap(group: context.eventLoop)
      .channelInitializer { server in
        server.eventLoop.makeCompletedFuture { try server.pipeline.syncOperations.addHandler(WayBack(to: client)) }
      }
      .connect(host: "127.0.0.1", port: port).assumeIsolated().whenSuccess { [self] server in
        self.server = server
        client.writeAndFlush(ByteBuffer(bytes: answer), promise: nil)
      }
  }
}

private final class WayBack: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let client: any Channel

  init(to client: any Channel) { self.client = client }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) { client.writeAndFlush(unwrapInboundIn(data), promise: nil) }
  func channelInactive(context: ChannelHandlerContext) { client.close(promise: nil) }
}
