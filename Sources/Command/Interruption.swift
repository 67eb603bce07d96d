internal import Foundation
internal import Synchronization

/// Ctrl-C, or another signal that asks a program to end: the first one asks the work to save its state and stop, the second one ends
/// the process.
enum Interruption {
  private static let asked = Atomic<Bool>(false)

  /// Call once, before the work starts.
  static func watch() {
    // Here and not first in the handler: what is set up at its first use takes a lock.
    _ = isAsked
    // Of what ends sessions and containers. `nohup` has the first one ignored, which stays so.
    for end in [SIGHUP, SIGTERM, SIGINT] {
      let former = signal(end, handle)
      if end == SIGHUP, former.map({ unsafeBitCast($0, to: Int.self) }) == unsafeBitCast(SIG_IGN, to: Int.self) {
        signal(end, SIG_IGN)
      }
    }
    // A program that starts this one from a thread that holds signals back hands that down.
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGINT)
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
  }

  // A C handler may only touch what is safe there: an atomic, write and _exit.
  private static let handle: @convention(c) (Int32) -> Void = { _ in
    if Interruption.asked.exchange(true, ordering: .relaxed) { _exit(130) }
    let message: StaticString = "\nstopping after this step; press Ctrl-C again to stop at once\n"
    _ = write(2, message.utf8Start, message.utf8CodeUnitCount)
  }

  static var isAsked: Bool { asked.load(ordering: .relaxed) }
}
