import Diffusion
import Evaluation
import Foundation
import Merging
import TestFiles
import Testing
import Tokenization
import Torch
import Toybox
import Training

/// The whole training of a base, with the networks that it always has, on six pictures and with two steps a stage.
@Suite struct ToyboxBaseTests {
  private let folder: TemporaryFolder
  private let recipe: BaseRecipe
  /// Where it is stopped; every stage is the same loop.
  private static let stages = ["refining the decoder", "training DINO"]

  init() throws {
    folder = try TemporaryFolder()
    var recipe = BaseRecipe()
    (recipe.autoencoder.steps, recipe.decoder.steps, recipe.base.steps) = (2, 2, 2)
    (recipe.oracle.steps, recipe.clip.steps, recipe.dino.steps) = (2, 2, 2)
    (recipe.autoencoderBatch, recipe.baseBatch, recipe.oracleBatch) = (2, 2, 2)
    (recipe.clipBatch, recipe.dinoBatch) = (2, 2)
    // Of the autoencoder's two steps one sees cut-outs, the other whole pictures.
    (recipe.autoencoderWholeSteps, recipe.previewEvery) = (1, 2)
    (recipe.pictures, recipe.oraclePictures, recipe.evaluationPictures) = (6, 8, 2)
    self.recipe = recipe
  }

  private func training(_ recipe: BaseRecipe, work: String, to output: String) -> ToyboxBase {
    ToyboxBase(recipe: recipe, work: folder(work), output: folder(output))
  }

  private func files(_ name: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: folder(name)).filter { $0.contains(".") }.sorted()
  }

  @Test("stopped twice it ends with the bytes of one run, in a folder that all readers take")
  func stopped() throws {
    try training(recipe, work: "work", to: "whole").train { _ in true }
    for stage in Self.stages {
      let stop = try #require(throws: Interrupted.self) {
        try training(recipe, work: "stopped work", to: "stopped").train { $0.phase != stage || $0.step > 1 }
      }
      #expect(stop.phase == stage && stop.step == 1 && stop.state != nil, "\(stop)")
    }
    var seen: Set<String> = []
    try training(recipe, work: "stopped work", to: "stopped").train { report in
      seen.insert(report.phase)
      return true
    }
    #expect(seen == ["training DINO", "drawing by captions"], "what was done is not done again")
    #expect(try files("stopped") == files("whole"))
    for file in try files("whole") {
      #expect(try bytes(folder("stopped/\(file)")) == bytes(folder("whole/\(file)")), "\(file)")
    }
    try expectSound("whole")
    try expectOthersToShare("work")
  }

  /// What is in the folder is what those who use it expect.
  private func expectSound(_ name: String) throws {
    let base = folder(name)
    let model = try DiffusionModel(folder: base)
    #expect(model.textEncoders.count == 2 && model.textEncoders.allSatisfy { $0.tokenizer.encode("a cat").count == 40 })
    #expect(model.vae.configuration.scalingFactor != 1, "it is that of the latents")
    let answers = try Oracle(base: base).probabilities(Tensor.zeros([1, 3, 64, 64]))
    #expect(answers.map(\.shape) == Attribute.all.map { [1, $0.answers.count] })
    #expect(answers.allSatisfy { abs($0.sum().item() - 1) < 1e-5 })
    #expect(try ImageEncoders.kind(of: ModelFolder(path: "\(base)/clip")).modelType == "clip")
    #expect(try ImageEncoders.kind(of: ModelFolder(path: "\(base)/dino")).modelType == "vit")

    #expect(try JSONDecoder().decode(BaseRecipe.self, from: bytes("\(base)/recipe.json")) == recipe)
    let log = try String(contentsOfFile: "\(base)/training-log.csv", encoding: .utf8).split(separator: "\n")
    #expect(log.count == 2 && log[0] == "stage,step,mean loss" && log[1].hasPrefix("base,2,"), "\(log)")
    let card = try String(contentsOfFile: "\(base)/README.md", encoding: .utf8)
    #expect(card.contains("reconstructions of 2 unseen pictures: PSNR "), "\(card)")
    #expect(card.split(separator: "\n").contains { $0.hasPrefix("| class | ") && $0.hasSuffix(" | 2 |") }, "\(card)")
    #expect(card.contains("Of 2 unseen scenes,") && card.contains("Of 576 photographs on grass"), "\(card)")
  }

  /// A base of another architecture takes over all but U-Net and text encoders; another recipe takes over nothing.
  private func expectOthersToShare(_ work: String) throws {
    var phases: [String] = []
    func stop(_ recipe: BaseRecipe) -> ToyboxBase { training(recipe, work: work, to: "other") }
    var other = recipe
    other.architecture = .stableDiffusion1
    #expect(throws: Interrupted.self) {
      try stop(other).train { report in
        phases.append(report.phase)
        return false
      }
    }
    #expect(phases == ["training the base"])
    other.worldSeed += 1
    let error = #expect(throws: StateError.self) { try stop(other).train { _ in true } }
    #expect(error?.path == folder("\(work)/autoencoder.safetensors"))
  }
}
