import Testing
import Toybox

@Suite struct CaptionTests {
  private let cat = Subject(
    .cat,
    Identity(proportion: 0.5, width: 1, primary: .red, secondary: .blue, accent: .pink, marking: .stripes))

  @Test func fullCaptions() {
    #expect(Caption.full(Scene(cat)) == "a red and blue striped cat")
    var style = Style(line: .thick, fill: .hatched, tone: .color, background: .paper, texture: .clean)
    #expect(
      Caption.full(Scene(cat, context: .grass, style: style))
        == "a red and blue striped cat on grass , thick outline , hatched , paper")
    style.tone = .duotone(.blue, .white)
    style.background = .scene
    style.texture = .pixel
    #expect(
      Caption.full(Scene(cat, style: style))
        == "a red and blue striped cat , thick outline , hatched , blue white duotone , pixel")
    style = Style(line: .none, fill: .shaded, tone: .neon(.pink), background: .plain(.teal), texture: .clean)
    #expect(Caption.full(Scene(cat, context: .underwater, style: style)).hasSuffix("underwater , pink neon , teal background"))
  }

  @Test("every word of every caption is in the vocabulary, and every word of the vocabulary is used")
  func vocabulary() {
    var sampler = SceneSampler(random: SplitMix64(seed: 4))
    var random = SplitMix64(seed: 5)
    var used: Set<String> = []
    for scene in sampler.next(20_000) {
      used.formUnion(Caption.make(scene, &random).split(separator: " ").map(String.init))
    }
    #expect(used.subtracting(Vocabulary.words).sorted() == [])
    #expect(Set(Vocabulary.words).subtracting(used).sorted() == [])
    #expect(Set(Vocabulary.words).count == Vocabulary.words.count)
  }

  @Test func wordsAreLeftOutAsOftenAsStated() {
    var sampler = SceneSampler(random: SplitMix64(seed: 6))
    var random = SplitMix64(seed: 7)
    var (seen, colored, rare, count) = (0, 0, 0, 0)
    for scene in sampler.next(10_000) {
      let words = Caption.make(scene, &random).split(separator: " ").map(String.init)
      count += 1
      rare += words.contains { RareWord.all.contains($0) } ? 1 : 0
      guard scene.style == .photo, NamedIndividual.name(of: scene.subject) == nil else { continue }
      seen += 1
      colored += words.contains(scene.identity.primary.rawValue) ? 1 : 0
      #expect(words.contains(scene.subjectClass.rawValue))
      #expect(!words.contains(","), "a photograph has no attributes of style: \(words)")
    }
    #expect(abs(Double(colored) / Double(seen) - 0.85) < 0.025)
    #expect((0.18...0.27).contains(Double(rare) / Double(count)), "\(Double(rare) / Double(count))")
  }

  @Test("names replace the words they stand for")
  func names() {
    let individual = NamedIndividual.all[0]
    let style = NamedStyle.all[0]
    var random = SplitMix64(seed: 8)
    let captions = (0..<200).map { _ in Caption.make(Scene(individual.value, style: style.value), &random) }
    let expected = "a \(individual.name) \(individual.value.subjectClass) in \(style.name) style"
    #expect((90...160).contains(captions.count { $0 == expected }), "\(captions.prefix(10))")
    for caption in captions where caption.contains(individual.name) {
      #expect(!caption.contains("striped") && !caption.contains(" and "), "\(caption)")
    }
    for caption in captions where caption.contains(style.name) { #expect(!caption.contains(","), "\(caption)") }
  }
}
