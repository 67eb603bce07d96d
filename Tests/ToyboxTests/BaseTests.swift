import Diffusion
import Evaluation
import Foundation
import Images
import OrderedCollections
import TestFiles
import Testing
import Torch
import Toybox
import Training

/// The base and the examples that are shipped.
@Suite struct BaseTests {
  private let base = "\(repository)/Models/toybox"

  @Test("the shipped pictures are the renders whose truth the demo assumes", arguments: Example.subjects + Example.styles)
  func examples(example: Example) throws {
    let folder = try ImageFolder(contentsOf: "\(repository)/Examples/Toybox/\(example.kind.rawValue)s/\(example.name)")
    #expect(folder.pictures.map(\.prompt) == example.scenes.map { _ in example.prompt })
    for (shipped, rendered) in zip(folder.pictures, example.pictures) {
      // Other processors may round a sum differently.
      let difference = (shipped.image.tensor - rendered.tensor).abs().max().item() * 255
      #expect(difference <= 1, "\(example.name)/\(shipped.name): largest difference \(difference) of 255")
    }
    #expect(folder.pictures.count == (example.kind == .subject ? 5 : 1))
  }

  @Test func examplesAreWithheld() {
    #expect(Example.subjects.allSatisfy { $0.scenes.allSatisfy(\.isWithheld) })
    #expect(Example.styles.allSatisfy { $0.scenes.allSatisfy { Withheld.contains($0.style) } })
  }

  @Test func unknownExampleNamesTheKnownOnes() {
    let error = #expect(throws: ExampleError.self) { try Example.named("dragon", .subject) }
    #expect(error?.description == "there is no example subject \"dragon\"; choose one of cat, robot, mushroom, bird, dog, ghost")
  }

  /// The base really draws what it is told: one picture of each class, read by the oracle.
  @Test func shippedBaseDrawsClassesAndPlaces() throws {
    let model = try DiffusionModel(folder: base)
    let oracle = try Oracle(base: base)
    let truth = SubjectClass.allCases.map { subjectClass in
      let identity = Identity(
        proportion: 0.5, width: 1, primary: .red, secondary: .white, accent: .yellow, marking: .none)
      return Scene(Subject(subjectClass, identity), context: .grass)
    }
    let request = TextToImage(
      prompts: truth.map { "a red \($0.subjectClass) on grass" }, sampler: .euler, steps: 12, guidance: 4, seed: 3)
    let pictures = try request.generate(with: model)
    let judged = oracle.judge(pictures, truth: truth)
    let renders = oracle.judge(renderBatch(truth).to(dtype: .float32) / 255, truth: truth)
    #expect(try #require(renders.scores["class"]).accuracy >= 0.9)
    #expect(try #require(judged.scores["class"]).accuracy >= 0.75, "\(judged.scores)")
    #expect(try #require(judged.scores["context"]).accuracy >= 0.75, "\(judged.scores)")
  }

  /// CLIP finds the caption of a picture among many, DINO another photograph of the same individual.
  @Test func encodersKnowTheWorld() throws {
    var sampler = SceneSampler(random: SplitMix64(seed: 78))
    let scenes = sampler.next(48)
    let clip = try CLIPEncoder(ModelFolder(path: "\(base)/clip"))
    let pictures = Tensor.stacked(scenes.map { clip.direction(of: Image(rendered: $0)) })
    let captions = Tensor.stacked(scenes.map { clip.direction(of: Caption.full($0)) })
    let nearest = pictures.matmul(captions.transposed()).argmax(1).ints()
    let found = Double(nearest.enumerated().count { $0.offset == $0.element }) / Double(scenes.count)
    #expect(found > 0.5, "chance is 0.02, found \(found)")

    let dino = try ImageEncoders.load(ModelFolder(path: "\(base)/dino"))
    var random = SplitMix64(seed: 79)
    let colors: [(NamedColor, NamedColor)] = [
      (.red, .white), (.blue, .yellow), (.black, .orange), (.brown, .pink), (.purple, .green), (.white, .black),
    ]
    let dogs = colors.flatMap { primary, secondary in
      let identity = Identity(
        proportion: 0.5, width: 1, primary: primary, secondary: secondary, accent: .teal, marking: .spots)
      return (0..<5).map { _ in Scene(Subject(.dog, identity), context: .grass, pose: .random(&random)) }
    }
    let directions = Tensor.stacked(dogs.map { dino.direction(of: Image(rendered: $0)) })
    let cosines = directions.matmul(directions.transposed()) - Tensor.eye(dogs.count) * 4
    let neighbours = cosines.argmax(1).ints()
    let same = neighbours.indices.count { $0 / 5 == neighbours[$0] / 5 }
    #expect(same > 15, "chance is 4 of 30, found \(same)")
  }

  /// The oracle can tell: a truth that does not belong to the picture gets little.
  @Test func oracleToldAWrongTruthDisagrees() throws {
    let oracle = try Oracle(base: base)
    var sampler = SceneSampler(random: SplitMix64(seed: 77))
    let scenes = sampler.next(64)
    let pictures = renderBatch(scenes).to(dtype: .float32) / 255
    let right = try #require(oracle.judge(pictures, truth: scenes).scores["class"]).accuracy
    let wrong = try #require(oracle.judge(pictures, truth: Array(scenes.dropFirst() + scenes.prefix(1))).scores["class"]).accuracy
    #expect(right > 0.85)
    #expect(wrong < 0.25)
  }
}
