import Foundation
import SafeTensors
import TestFiles
import Testing
import Training
import Workflows

/// Pictures of `ziplora generate` that was stopped are told from those of a later run.
@Suite struct StoppedDrawingTests {
  private let folder: TemporaryFolder
  private var made: String { folder("made") }

  init() throws { folder = try TemporaryFolder() }

  private func drawing(_ seed: UInt64, overwrite: Bool = false) -> GenerateImages {
    GenerateImages(
      base: BaseModel(base), prompts: ["a cat"], steps: 2, seed: seed, count: 3, output: made, overwrite: overwrite)
  }

  /// Two steps a picture.
  private func stop(_ drawing: GenerateImages, atStep step: Int) {
    #expect(throws: Interrupted.self) { _ = try drawing.run { $0.phase != "generating" || $0.step < step } }
  }

  private func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: made).sorted() }

  private func record() throws -> RunRecord<GenerateImages> {
    try JSONDecoder().decode(RunRecord<GenerateImages>.self, from: bytes("\(made)/run.json"))
  }

  @Test("a record says that they are not all, and what replaces them takes them away")
  func stopped() throws {
    stop(drawing(5), atStep: 3)
    #expect(try names() == ["0001-seed5.png", "run.json"])
    #expect(try record().isPartial == true)
    #expect(try record().outputs == [FileDigest(of: "\(made)/0001-seed5.png")])
    let refusal = #expect(throws: AtomicFileError.self) { _ = try drawing(9).run { _ in true } }
    #expect(refusal?.path == "\(made)/run.json" && refusal?.reason == .exists)

    // One that was to replace them and was stopped, too.
    stop(drawing(9, overwrite: true), atStep: 3)
    #expect(try names() == ["0001-seed5.png", "0001-seed9.png", "run.json"])
    #expect(try record().outputs.map(\.path) == ["\(made)/0001-seed9.png", "\(made)/0001-seed5.png"])

    _ = try drawing(7, overwrite: true).run { _ in true }
    #expect(try names() == ["0001-seed7.png", "0002-seed8.png", "0003-seed9.png", "run.json"])
    #expect(try record().isPartial == nil)
  }

  @Test func stoppedBeforeTheFirstPicture() throws {
    stop(drawing(5), atStep: 1)
    #expect(!FileManager.default.fileExists(atPath: made))
  }

  @Test("the same command goes on with what is left, to the same pictures, unless a LoRA or the base has changed")
  func goesOn() throws {
    let whole = GenerateImages(base: BaseModel(base), prompts: ["a cat"], steps: 2, seed: 5, count: 3, output: folder("whole"))
    _ = try whole.run { _ in true }
    let stopped = try #require(throws: Interrupted.self) {
      _ = try drawing(5).run { $0.phase != "generating" || $0.step < 5 }
    }
    #expect(stopped.state == made)
    func changed() throws -> Date? {
      try FileManager.default.attributesOfItem(atPath: "\(made)/0001-seed5.png")[.modificationDate] as? Date
    }
    let before = try changed()
    #expect(try drawing(5).run { _ in true }.count == 3)
    #expect(try changed() == before)
    #expect(try record().isPartial == nil && record().outputs.count == 3)
    for name in ["0001-seed5.png", "0002-seed6.png", "0003-seed7.png"] {
      #expect(try bytes("\(made)/\(name)") == bytes(folder("whole/\(name)")), "\(name)")
    }
    // What is done is not begun again.
    #expect(throws: AtomicFileError.self) { try drawing(5).run { _ in true } }
  }
}
