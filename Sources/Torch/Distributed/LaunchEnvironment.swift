internal import Foundation

/// Which process of which run this is, as programs say that start several: torchrun, or anything that sets the same
/// variables, and Slurm's srun.
public struct LaunchEnvironment: Sendable, Equatable {
  /// From 0 on, below `size`.
  public var rank: Int
  public var size: Int
  /// Among the processes of this machine; nil where nobody says.
  public var localRank: Int?
  /// Where the processes find each other.
  public var host: String
  public var port: Int
  /// Whether this process opens that place. torchrun does so itself.
  public var hostsStore: Bool
  /// Tells one start of a run from the next, where both find each other at one place.
  public var attempt: Int

  public init(
    rank: Int, size: Int, localRank: Int? = nil, host: String, port: Int, hostsStore: Bool? = nil, attempt: Int = 0
  ) {
    (self.rank, self.size, self.localRank, self.host, self.port) = (rank, size, localRank, host, port)
    self.hostsStore = hostsStore ?? (rank == 0)
    self.attempt = attempt
  }

  /// Processes of this machine that find each other at a port which nobody listens on yet, the first of them first.
  ///
  /// - Throws: `LaunchError` where no port is free.
  public static func onThisMachine(_ size: Int) throws(LaunchError) -> [LaunchEnvironment] {
    let port = try freePort()
    return (0..<size).map { LaunchEnvironment(rank: $0, size: size, localRank: $0, host: "127.0.0.1", port: port) }
  }

  private static func freePort() throws(LaunchError) -> Int {
    #if os(Linux)
      let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #else
      let socket = socket(AF_INET, SOCK_STREAM, 0)
    #endif
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let found = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(socket, address, length) == 0 && getsockname(socket, address, &length) == 0
      }
    }
    guard found else {
      throw LaunchError("found no free port for the processes of this machine to meet at: \(String(cString: strerror(errno)))")
    }
    return Int(UInt16(bigEndian: address.sin_port))
  }

  /// What `init(_:)` reads of a process that hosts the store if it is the first.
  public var variables: [String: String] {
    var variables = ["RANK": "\(rank)", "WORLD_SIZE": "\(size)", "MASTER_ADDR": host, "MASTER_PORT": "\(port)"]
    variables["LOCAL_RANK"] = localRank.map { "\($0)" }
    return variables
  }

  /// c10d counts in 32 bits.
  private static let mostProcesses = Int(Int32.max)

  /// Reads the variables of this process; nil where it is the only one.
  ///
  /// - Throws: `LaunchError` for variables that do not go together.
  public init?(_ variables: [String: String]) throws(LaunchError) {
    let reader = Reader(variables: variables)
    let rank: Int
    let size: Int
    var slurm = false
    // One process needs no number, unless Slurm says that there are more.
    if variables["WORLD_SIZE"] == "1", !reader.has("RANK"), !reader.has("SLURM_STEP_NUM_TASKS") { return nil }
    if reader.has("RANK") || reader.has("WORLD_SIZE") {
      size = try reader.number("WORLD_SIZE", 1...Self.mostProcesses, beside: "RANK")
      rank = try reader.number("RANK", 0...(size - 1), beside: "WORLD_SIZE")
      localRank = reader.has("LOCAL_RANK") ? try reader.number("LOCAL_RANK", 0...(size - 1), beside: "RANK") : nil
    } else if reader.has("SLURM_STEP_NUM_TASKS") {
      // Set by srun. A batch script itself has SLURM_NTASKS, too, and is one process all the same.
      slurm = true
      size = try reader.number("SLURM_STEP_NUM_TASKS", 1...Self.mostProcesses, beside: "SLURM_PROCID")
      rank = try reader.number("SLURM_PROCID", 0...(size - 1), beside: "SLURM_STEP_NUM_TASKS")
      localRank = reader.has("SLURM_LOCALID") ? try reader.number("SLURM_LOCALID", 0...(size - 1), beside: "SLURM_PROCID") : nil
    } else {
      return nil
    }
    guard size > 1 else { return nil }
    if slurm, !reader.has("MASTER_ADDR"), !reader.has("MASTER_PORT") {
      guard let first = Self.firstHost(of: try reader.text("SLURM_STEP_NODELIST", beside: "SLURM_PROCID")) else {
        throw LaunchError(
          "SLURM_STEP_NODELIST is \"\(variables["SLURM_STEP_NODELIST"] ?? "")\"; expected hosts such as node[1-4]")
      }
      host = first
      let job = try reader.number("SLURM_JOB_ID", 0...Int.max, beside: "SLURM_PROCID")
      let step = try reader.number("SLURM_STEP_ID", 0...Int.max, beside: "SLURM_PROCID")
      // Below the ports that systems give to connections; steps of one job follow each other.
      port = 16384 + (job &* 31 &+ step) % 16384
    } else {
      let beside = slurm ? "SLURM_PROCID" : "RANK"
      host = try reader.text("MASTER_ADDR", beside: beside)
      port = try reader.number("MASTER_PORT", 1...65535, beside: beside)
    }
    (self.rank, self.size) = (rank, size)
    hostsStore = rank == 0 && variables["TORCHELASTIC_USE_AGENT_STORE"] != "True"
    attempt = variables["TORCHELASTIC_RESTART_COUNT"].flatMap(Int.init) ?? 0
  }

  /// The first host of Slurm's short form: `gpu[003-007,12],login1` begins with gpu003.
  static func firstHost(of list: String) -> String? {
    var host = ""
    var range: String?
    for character in list {
      switch (character, range) {
      case ("[", nil): range = ""
      case ("]", let inside?):
        host += inside.prefix { $0 != "," && $0 != "-" }
        range = nil
      case (_, let inside?): range = inside + String(character)
      case (",", nil): return host.isEmpty ? nil : host
      case (_, nil): host.append(character)
      }
    }
    return host.isEmpty || range != nil ? nil : host
  }

  /// The device that this process should take when one is asked for: of several GPUs, each process of a machine its own.
  public func device(for asked: Device) -> Device {
    guard asked.kind == .cuda, asked.index == nil, let localRank else { return asked }
    return Device(.cuda, index: localRank)
  }

  private struct Reader {
    let variables: [String: String]

    func has(_ name: String) -> Bool { variables[name] != nil }

    func text(_ name: String, beside other: String) throws(LaunchError) -> String {
      guard let text = variables[name], !text.isEmpty else {
        throw LaunchError(
          "\(other) is set and \(name) is not; several processes need both, and one process needs neither")
      }
      return text
    }

    func number(_ name: String, _ range: ClosedRange<Int>, beside other: String) throws(LaunchError) -> Int {
      let text = try text(name, beside: other)
      guard let number = Int(text), range.contains(number) else {
        let most = range.upperBound == .max ? " on" : " to \(range.upperBound)"
        throw LaunchError("\(name) is \"\(text)\"; expected a whole number from \(range.lowerBound)\(most)")
      }
      return number
    }
  }
}

/// Variables from which it does not follow what this process is.
public struct LaunchError: Error, CustomStringConvertible, Equatable {
  public let description: String

  init(_ description: String) { self.description = description }
}
