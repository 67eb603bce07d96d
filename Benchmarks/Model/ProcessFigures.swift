internal import Foundation

/// What the operating system knows of this process.
enum ProcessFigures {
  /// How many processes wanted to run in the last minute, on average.
  static var loadAverage: Double {
    var averages = [0.0]
    return getloadavg(&averages, 1) == 1 ? averages[0] : .nan
  }
}
