internal import Foundation

/// What the operating system knows of this process.
enum ProcessFigures {
  /// The largest amount of physical memory that the process has held so far, in bytes.
  static var peakMemory: Int {
    #if os(Linux)
      // Not getrusage, whose figure outlives exec: it would be that of a large parent.
      let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
      let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
      return 1024 * (line.flatMap { Int($0.filter(\.isNumber)) } ?? 0)
    #else
      var usage = rusage()
      getrusage(RUSAGE_SELF, &usage)
      return usage.ru_maxrss
    #endif
  }

  /// How many processes wanted to run in the last minute, on average.
  static var loadAverage: Double {
    var averages = [0.0]
    return getloadavg(&averages, 1) == 1 ? averages[0] : .nan
  }
}
