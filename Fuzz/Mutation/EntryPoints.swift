import Foundation
import ReaderTrial

/// The folder, in memory where there is one, goes with the process; several fuzzers can run at once.
private let folder: URL = {
  let memory = URL(filePath: "/dev/shm")
  let parent = FileManager.default.isWritableFile(atPath: memory.path) ? memory : FileManager.default.temporaryDirectory
  return parent.appending(path: "ziplora-fuzz-\(ProcessInfo.processInfo.processIdentifier)")
}()

// A folder that cannot be made is no finding, but nothing can be found without it.
nonisolated(unsafe) private let trial: ReaderTrial = {
  atexit { try? FileManager.default.removeItem(at: folder) }
  do { return try ReaderTrial(in: folder) } catch { preconditionFailure("\(error)") }
}()

private let mutator = FileMutator(base: trial.base, scratch: folder.appending(path: "sketch.safetensors").path)

/// Reads the bytes as a LoRA file; what must not happen traps.
@_cdecl("ziplora_fuzz_read")
public func fuzzRead(_ bytes: UnsafePointer<UInt8>?, _ count: Int) {
  do { _ = try trial.run(UnsafeRawBufferPointer(start: bytes, count: count)) } catch { preconditionFailure("\(error)") }
}

/// Replaces the bytes by a related file, mostly a sound one, and says how long it is. 0 where libFuzzer should change bytes itself.
@_cdecl("ziplora_fuzz_mutate")
public func fuzzMutate(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ capacity: Int, _ seed: UInt32) -> Int {
  var random = SeededNumbers(state: UInt64(seed))
  // Bytes anywhere break the format, which is to be tried as well.
  guard Int.random(in: 0..<5, using: &random) > 0,
    let file = mutator.mutate(UnsafeRawBufferPointer(start: bytes, count: count), atMost: capacity, using: &random)
  else { return 0 }
  file.copyBytes(to: bytes, count: file.count)
  return file.count
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed, the same file.
private struct SeededNumbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
