internal import Foundation

/// Physical memory of this process and of the machine, in bytes.
public enum ProcessMemory {
  /// What the process holds now; nil where the system is not asked.
  public static var resident: Int? { status("VmRSS") }

  /// The most that the process has held so far.
  public static var peak: Int {
    // Not getrusage on Linux: its figure outlives exec and would be that of a large parent.
    if let peak = status("VmHWM") { return peak }
    #if canImport(Darwin)
      var usage = rusage()
      getrusage(RUSAGE_SELF, &usage)
      return usage.ru_maxrss
    #else
      return 0
    #endif
  }

  /// What can still be had without swapping, within the limits of the control group; all of the machine's where the system is
  /// not asked.
  public static var available: Int {
    let free = kilobytes("MemAvailable", in: "/proc/meminfo") ?? Int(ProcessInfo.processInfo.physicalMemory)
    guard let limit = number("/sys/fs/cgroup/memory.max"), let used = number("/sys/fs/cgroup/memory.current") else {
      return free
    }
    // Pages of files that can be dropped count as used.
    let droppable = value("inactive_file", in: "/sys/fs/cgroup/memory.stat") ?? 0
    return max(0, min(free, limit - used + droppable))
  }

  private static func status(_ name: String) -> Int? { kilobytes(name, in: "/proc/self/status") }

  private static func kilobytes(_ name: String, in path: String) -> Int? { value(name, in: path).map { 1024 * $0 } }

  /// The number in a file of lines such as `VmRSS:  1234 kB` or `inactive_file 1234`.
  private static func value(_ name: String, in path: String) -> Int? {
    let lines = (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: "\n")
    for line in lines ?? [] {
      let words = line.split { $0 == ":" || $0.isWhitespace }
      if words.count > 1, words[0] == name { return Int(words[1]) }
    }
    return nil
  }

  /// nil for the word `max`, too.
  private static func number(_ path: String) -> Int? {
    (try? String(contentsOfFile: path, encoding: .utf8)).flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
  }
}
