import Foundation
import SafeTensors
import TestFiles
import Testing
import Toybox
import Training

/// A base takes the place of no other files unasked.
@Suite struct ToyboxOutputTests {
  private let folder: TemporaryFolder
  private let recipe: BaseRecipe

  init() throws {
    folder = try TemporaryFolder()
    var recipe = BaseRecipe()
    recipe.pictures = 2
    self.recipe = recipe
  }

  /// Until the first picture is drawn.
  private func begin(work: String = "work", to output: String = "base", overwrite: Bool = false) throws {
    try ToyboxBase(recipe: recipe, work: folder(work), output: folder(output), overwrite: overwrite).train { _ in false }
  }

  @Test("files of others are refused before anything is done")
  func others() throws {
    let card = folder("base/unet/README.md")
    try FileManager.default.createDirectory(atPath: folder("base/unet"), withIntermediateDirectories: true)
    try Data("precious".utf8).write(to: URL(filePath: card))
    let refusal = #expect(throws: AtomicFileError.self) { try begin() }
    #expect(refusal?.path == card && refusal?.reason == .exists)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("work")) == [])
    #expect(throws: Interrupted.self) { try begin(overwrite: true) }
  }

  @Test("a training that was stopped goes on in the folder that it has begun, and in no other")
  func own() throws {
    #expect(throws: Interrupted.self) { try begin() }
    try Data("the base so far".utf8).write(to: URL(filePath: folder("base/model_index.json")))
    #expect(throws: Interrupted.self) { try begin() }
    #expect(throws: AtomicFileError.self) { try begin(work: "other work") }
    try FileManager.default.copyItem(atPath: folder("base"), toPath: folder("other base"))
    #expect(throws: AtomicFileError.self) { try begin(to: "other base") }
  }
}
