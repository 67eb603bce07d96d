import Testing
import Toybox

@Suite struct AttributeTests {
  @Test func headsAreInOrderAndIndicesInRange() {
    #expect(Attribute.all.map(\.answers.count) == [16, 7, 3, 5, 5, 4, 4, 12, 12, 3, 12, 12])
    var sampler = SceneSampler(random: SplitMix64(seed: 10))
    for scene in sampler.next(2_000) {
      #expect(scene.attributes.map(\.attribute) == Attribute.all)
      for value in scene.attributes { #expect(value.attribute.answers.indices.contains(value.index)) }
    }
  }

  @Test func onlyWhatCanBeSeenIsAsked() {
    let subject = Withheld.subjects[0]
    func visible(_ style: Style) -> [String] {
      Scene(subject, context: .snow, style: style).attributes.filter(\.isVisible).map {
        "\($0.attribute.name) \($0.attribute.answers[$0.index])"
      }
    }
    let always = { (style: Style, tone: String, background: String) in
      ["line \(style.line)", "fill \(style.fill)", "tone \(tone)", "background \(background)", "texture \(style.texture)"]
    }
    #expect(
      visible(.photo) == ["class cat", "context in the snow"] + always(.photo, "color", "scene")
        + ["primary pink", "secondary teal", "marking stripes"])
    var style = Style(line: .thin, fill: .empty, tone: .color, background: .plain(.red), texture: .canvas)
    #expect(visible(style) == ["class cat"] + always(style, "color", "plain") + ["second style colour red"])
    style.tone = .duotone(.blue, .white)
    style.background = .paper
    #expect(
      visible(style) == ["class cat"] + always(style, "duotone", "paper")
        + ["first style colour blue", "second style colour white"])
    style.tone = .neon(.pink)
    style.background = .dark
    style.fill = .flat
    #expect(visible(style) == ["class cat"] + always(style, "neon", "dark") + ["first style colour pink"])
  }
}
