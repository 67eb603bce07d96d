internal import Foundation
internal import Synchronization

/// Ctrl-C: the first one asks the work to save its state and stop, the second one ends the process.
enum Interruption {
  private static let asked = Atomic<Bool>(false)

  /// Call once, before the work starts.
  static func watch() {
    // A C handler may only touch what is safe there: an atomic, write and _exit.
    signal(SIGINT) { _ in
      if Interruption.asked.exchange(true, ordering: .relaxed) { _exit(130) }
      let message: StaticString = "\nstopping after this step; press Ctrl-C again to stop at once\n"
      _ = write(2, message.utf8Start, message.utf8CodeUnitCount)
    }
    // A program that starts this one from a thread that holds signals back hands that down.
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGINT)
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
  }

  static var isAsked: Bool { asked.load(ordering: .relaxed) }
}
