import Foundation
import ReaderTrial
import Testing

/// Every file that the fuzzer found worth keeping (`make fuzz`), through all readers again: one that once crashed them stays
/// harmless.
@Suite struct CorpusTests {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fuzz/Corpus").standardized

  @Test func everyFileGivesAnAdapterOrAnError() throws {
    let scratch = FileManager.default.temporaryDirectory.appending(path: "trial-" + UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: scratch) }
    let trial = try ReaderTrial(in: scratch)
    let files = try FileManager.default.contentsOfDirectory(at: Self.folder, includingPropertiesForKeys: nil)
    var counts: [ReaderTrial.Reach: Int] = [:]
    for file in files.sorted(by: { $0.path < $1.path }) {
      // What a trap leaves on the screen names the file.
      FileHandle.standardError.write(Data("\(file.lastPathComponent)\n".utf8))
      counts[try Data(contentsOf: file).withUnsafeBytes { try trial.run($0) }, default: 0] += 1
    }
    for reach in ReaderTrial.Reach.allCases { #expect(counts[reach, default: 0] > 0, "no file comes as far as \(reach)") }
  }
}
