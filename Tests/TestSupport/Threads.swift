internal import Foundation
internal import Synchronization
public import Torch

/// Runs `body` in each process of a group and gives what they return, in their order. The processes are threads of this
/// one: c10d does not mind.
public func inGroup<Result: Sendable>(
  of size: Int, _ body: @escaping @Sendable (ProcessGroup) throws -> Result
) throws -> [Result] {
  let port = freePort()
  return try onThreads(size) { rank in
    try body(ProcessGroup(joining: LaunchEnvironment(rank: rank, size: size, host: "127.0.0.1", port: port)))
  }
}

/// Runs `body` with each number below `count` at the same time. Not on a queue, which would let some wait for the end of
/// others on a small machine.
public func onThreads<Result: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) throws -> Result
) throws -> [Result] {
  let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
  let group = DispatchGroup()
  for index in 0..<count {
    group.enter()
    Thread.detachNewThread {
      let result = Swift.Result { try body(index) }
      results.withLock { $0[index] = result }
      group.leave()
    }
  }
  group.wait()
  return try (0..<count).map { index in try results.withLock { $0[index]! }.get() }
}

/// A port of this machine that nobody listens on.
public func freePort() -> Int {
  #if os(Linux)
    let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  #else
    let socket = socket(AF_INET, SOCK_STREAM, 0)
  #endif
  defer { close(socket) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  return withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      precondition(bind(socket, address, length) == 0 && getsockname(socket, address, &length) == 0, "no port is free")
    }
    return Int(UInt16(bigEndian: pointer.pointee.sin_port))
  }
}
