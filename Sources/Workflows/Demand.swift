internal import Torch

/// Checks of numbers, for `Workflow.validate`.
package enum Demand {
  /// - Parameter most: beyond it there is no machine, only overflow.
  package static func atLeast(
    _ least: Int, _ number: Int, _ option: String, atMost most: Int = 10_000_000
  ) throws(SettingError) {
    guard number >= least else { throw SettingError(option, number, expected: "\(least) or more") }
    guard number <= most else { throw SettingError(option, number, expected: "\(most) or less") }
  }

  static func positive(_ number: Double, _ option: String) throws(SettingError) {
    guard number > 0, number.isFinite else { throw SettingError(option, number, expected: "a number above 0") }
  }

  /// Of memory.
  static func gibibytes(_ number: Double, _ option: String) throws(SettingError) {
    try positive(number, option)
    guard number <= 1e6 else { throw SettingError(option, number, expected: "a number of GiB up to 1e6") }
  }

  static func notNegative(_ number: Double, _ option: String) throws(SettingError) {
    guard number >= 0, number.isFinite else { throw SettingError(option, number, expected: "0 or more") }
  }

  /// Of a clock.
  static func seconds(_ number: Double, _ option: String) throws(SettingError) {
    try notNegative(number, option)
    guard number <= 1e9 else { throw SettingError(option, number, expected: "a number of seconds up to 1e9") }
  }

  static func divisible(_ batch: Int, by processes: ProcessGroup) throws(SettingError) {
    guard batch % processes.size == 0 else {
      throw SettingError("batch", batch, expected: "a multiple of \(processes.size), as so many processes take equal parts of it")
    }
  }

  static func available(_ device: Device) throws(SettingError) {
    guard device.isAvailable else {
      throw SettingError("--device \(device): this build of libtorch or this machine has none; use cpu")
    }
  }

  static func finite(_ number: Double, _ option: String) throws(SettingError) {
    guard number.isFinite else { throw SettingError(option, number, expected: "a finite number") }
  }

  /// Of LoRAs that become one.
  static func someWeight(_ loras: [WeightedFile]) throws(SettingError) {
    guard loras.contains(where: { $0.weight != 0 }) else {
      throw SettingError(
        "all LoRAs have weight 0, so that nothing of them would be left; expected another weight for one at least")
    }
  }
}
