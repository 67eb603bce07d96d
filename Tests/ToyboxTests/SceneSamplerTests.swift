import Foundation
import Testing
import Toybox

@Suite struct SceneSamplerTests {
  @Test("of many training scenes none is withheld, not even with another proportion, accent or pose")
  func withheld() {
    var sampler = SceneSampler(random: SplitMix64(seed: 5))
    let colorings = Withheld.subjects.map(Coloring.init)
    let styles = Set(Withheld.styles)
    var nearMisses = 0
    for scene in sampler.next(40_000) {
      #expect(!scene.isWithheld && !styles.contains(scene.style), "\(Caption.full(scene))")
      guard let index = colorings.firstIndex(of: Coloring(scene.subject)) else { continue }
      nearMisses += 1
      #expect(scene.identity.marking != Withheld.subjects[index].identity.marking, "\(Caption.full(scene))")
    }
    // The same class and colours with another marking do occur: the samples are many enough to have met what is withheld.
    #expect(nearMisses > 30, "\(nearMisses)")
  }

  /// What training may show of a withheld subject, with another marking.
  private struct Coloring: Equatable {
    var subjectClass: SubjectClass
    var primary, secondary: NamedColor

    init(_ subject: Subject) {
      (subjectClass, primary, secondary) = (subject.subjectClass, subject.identity.primary, subject.identity.secondary)
    }
  }

  @Test func variantsOfWithheldSubjectsAreWithheld() {
    var subject = Withheld.subjects[0]
    subject.identity.proportion = 0.1
    subject.identity.accent = .brown
    #expect(Withheld.contains(subject))
    subject.identity.marking = .spots
    #expect(!Withheld.contains(subject))
    for style in Withheld.styles {
      #expect(Scene(NamedIndividual.all[0].value, style: style).isWithheld)
    }
    #expect(!Withheld.contains(Style.photo))
    #expect(Withheld.subjects.count >= 4 && Withheld.styles.count == 8)
  }

  @Test func sharesAreAsStated() {
    var sampler = SceneSampler(random: SplitMix64(seed: 9))
    let scenes = sampler.next(20_000)
    let photos = scenes.count { $0.style == .photo }
    let styled = scenes.filter { $0.style != .photo }
    let named = styled.count { NamedStyle.name(of: $0.style) != nil }
    let individuals = scenes.count { NamedIndividual.name(of: $0.subject) != nil }
    #expect(abs(Double(photos) / 20_000 - SceneSampler.photoShare) < 0.015)
    #expect(abs(Double(named) / Double(styled.count) - SceneSampler.namedStyleShare) < 0.03)
    #expect(abs(Double(individuals) / 20_000 - SceneSampler.namedIndividualShare) < 0.015)
    for subjectClass in SubjectClass.allCases {
      let share = Double(scenes.count { $0.subjectClass == subjectClass }) / 20_000
      #expect(abs(share - 1 / 16) < 0.01, "\(subjectClass): \(share)")
    }
    for scene in scenes {
      let identity = scene.identity
      #expect(Set([identity.primary, identity.secondary, identity.accent]).count == 3)
      #expect((0.88...1.12).contains(identity.width) && (0...1).contains(identity.proportion))
      #expect(scene.style.fill != .empty || scene.style.line != .none)
    }
  }

  @Test func sameSeedSameScenesOnEveryPlatform() {
    var sampler = SceneSampler(random: SplitMix64(seed: 1))
    var random = SplitMix64(seed: 7)
    let captions = sampler.next(4).map { scene in Caption.make(scene, &random) }
    #expect(captions == expectedCaptions)
  }

  @Test func namedThingsAreDifferent() {
    #expect(NamedStyle.all.count == 32 && Set(NamedStyle.all.map(\.value)).count == 32)
    #expect(NamedIndividual.all.count == 96 && Set(NamedIndividual.all.map(\.value)).count == 96)
    let names = NamedStyle.all.map(\.name) + NamedIndividual.all.map(\.name) + RareWord.all
    #expect(Set(names).count == names.count)
    for subjectClass in SubjectClass.allCases {
      #expect(NamedIndividual.all.count { $0.value.subjectClass == subjectClass } == 6)
    }
    for named in NamedStyle.all { #expect(NamedStyle.name(of: named.value) == named.name) }
    for named in NamedIndividual.all { #expect(NamedIndividual.name(of: named.value) == named.name) }
  }

  @Test func scenesSurviveTheirFile() throws {
    var sampler = SceneSampler(random: SplitMix64(seed: 3))
    let scenes = sampler.next(50)
    let data = try JSONEncoder().encode(scenes)
    #expect(try JSONDecoder().decode([Scene].self, from: data) == scenes)
  }
}

private let expectedCaptions = [
  "a black striped mug in the desert",
  "a raggy robot in the snow , thin outline",
  "a boat , thick outline , empty , grayscale , dark",
  "a brown and gray butterfly in the desert , thin outline , flat , pink neon , dark",
]
