import Testing
import Torch
import Toybox

@Suite struct RenderingTests {
  private static let identity = Identity(
    proportion: 0.5, width: 1, primary: .orange, secondary: .blue, accent: .pink, marking: .none)
  private static let cat = Subject(.cat, identity)

  @Test("every class in every style attribute gives finite numbers in 0...1", arguments: SubjectClass.allCases)
  func range(of subjectClass: SubjectClass) {
    var random = SplitMix64(seed: 1)
    for named in NamedStyle.all {
      let context = random.pick(Context.allCases)
      let scene = Scene(Subject(subjectClass, Self.identity), context: context, style: named.value, pose: .random(&random))
      let picture = scene.render()
      #expect(picture.shape == [3, 64, 64] && picture.dtype == .float32)
      #expect(picture.isFinite().allHold() && picture.min().item() >= 0 && picture.max().item() <= 1, "\(scene)")
      // Something stands out from the ground, also in grey and in the dark.
      #expect(picture.variance([1, 2]).max().item() > 2e-4, "\(scene)")
    }
  }

  @Test("each choice changes the picture")
  func choicesAreVisible() {
    // Flat and shaded under a thick outline are nearest, 0.008 apart.
    var scenes: [(String, [Scene])] = []
    scenes.append(("class", SubjectClass.allCases.map { Scene(Subject($0, Self.identity)) }))
    scenes.append(("context", Context.allCases.map { Scene(Self.cat, context: $0) }))
    let flat = Style(line: .thick, fill: .flat, tone: .color, background: .scene, texture: .clean)
    func styles(_ change: (inout Style) -> Void) -> Scene {
      var style = flat
      change(&style)
      return Scene(Self.cat, context: .grass, style: style)
    }
    scenes.append(("line", Style.Line.allCases.map { line in styles { $0.line = line } }))
    scenes.append(("fill", Style.Fill.allCases.map { fill in styles { $0.fill = fill } }))
    scenes.append(("texture", Style.Texture.allCases.map { texture in styles { $0.texture = texture } }))
    let tones: [Style.Tone] = [.color, .pastel, .gray, .duotone(.blue, .white), .neon(.pink)]
    scenes.append(("tone", tones.map { tone in styles { $0.tone = tone } }))
    let grounds: [Style.Background] = [.scene, .paper, .dark, .plain(.red)]
    scenes.append(("background", grounds.map { ground in styles { $0.background = ground } }))
    for marking in [Identity.Marking.stripes, .spots] {
      var marked = Self.cat
      marked.identity.marking = marking
      scenes.append(("marking", [Scene(Self.cat), Scene(marked)]))
    }
    for (name, group) in scenes {
      let pictures = group.map { $0.render() }
      for first in pictures.indices {
        for second in pictures.indices where second > first {
          let difference = (pictures[first] - pictures[second]).abs().mean().item()
          #expect(difference > 0.006, "\(name): \(first) and \(second) differ by \(difference) only")
        }
      }
    }
  }

  @Test("the primary colour covers a good part of every figure", arguments: SubjectClass.allCases)
  func primaryColor(of subjectClass: SubjectClass) {
    let style = Style(line: .none, fill: .flat, tone: .color, background: .plain(.white), texture: .clean)
    var identity = Self.identity
    identity.primary = .green
    let picture = Scene(Subject(subjectClass, identity), style: style).render()
    let green = Tensor([0.2, 0.62, 0.24] as [Float], shape: [3, 1, 1])
    let share = ((picture - green).abs().max([0]) .< 0.02).to(dtype: .float32).mean().item()
    #expect(share > 0.03, "\(subjectClass): \(share)")
  }

  @Test("a mirrored figure is the mirror image")
  func mirrored() {
    let style = Style(line: .thick, fill: .flat, tone: .color, background: .dark, texture: .clean)
    for subjectClass in SubjectClass.allCases {
      var scene = Scene(Subject(subjectClass, Self.identity), style: style)
      scene.pose.x = 0.1
      let picture = scene.render()
      scene.pose.x = -0.1
      scene.pose.isMirrored = true
      let difference = (scene.render().flipped([2]) - picture).abs().max().item()
      #expect(difference < 1e-4, "\(subjectClass): \(difference)")
    }
  }

  @Test("a picture of half the size shows the same")
  func sizes() {
    let scene = Scene(Self.cat, context: .beach)
    let large = scene.render(size: 128).unsqueezed(0).averagePooled(2)[0]
    let difference = (large - scene.render(size: 64)).abs().mean().item()
    #expect(difference < 0.02, "\(difference)")
  }

  @Test("a batch drawn by concurrent tasks equals one drawn alone, byte by byte")
  func batches() async {
    var sampler = SceneSampler(random: SplitMix64(seed: 2))
    let scenes = sampler.next(24)
    let alone = renderBatch(scenes, size: 32)
    #expect(alone.shape == [24, 3, 32, 32] && alone.dtype == .uint8)
    let expected = alone.bytes()
    await withTaskGroup(of: [UInt8].self) { group in
      for _ in 0..<4 { group.addTask { renderBatch(scenes, size: 32).bytes() } }
      for await bytes in group { #expect(bytes == expected) }
    }
    let first = (scenes[0].render(size: 32) * 255).rounded().to(dtype: .uint8).bytes()
    #expect(Array(expected[..<first.count]) == first)
  }

  /// Models are trained on these pictures: a change of the drawing makes their oracles and base models wrong, silently.
  /// The golden numbers are the mean red, green and blue of 4 × 4 fields, in 0...255, printed by
  /// this test when the drawing was settled.
  @Test("what is drawn has not changed", arguments: 0..<3)
  func golden(index: Int) {
    let scenes = [
      Scene(Withheld.subjects[0], context: .grass),
      Scene(Withheld.subjects[1], context: .night, style: Withheld.styles[2]),
      Scene(Withheld.subjects[3], style: Withheld.styles[0]),
    ]
    let means = scenes[index].render().unsqueezed(0).averagePooled(16).reshaped(48) * 255
    let difference = (means - Tensor(goldenMeans[index].map(Float.init))).abs().max().item()
    #expect(difference < 1, "\(difference): \(means.rounded().to(dtype: .int64).ints())")
  }
}

private let goldenMeans = [
  [
    173, 131, 127, 173, 155, 142, 142, 156, 142, 120, 125, 146, 78, 67, 77, 78,
    211, 191, 188, 203, 204, 171, 185, 206, 206, 164, 165, 189, 165, 139, 133, 162,
    244, 243, 243, 190, 243, 187, 207, 245, 150, 147, 175, 180, 67, 80, 93, 67,
  ],
  [
    12, 61, 61, 12, 20, 153, 153, 20, 58, 187, 184, 58, 38, 129, 130, 38,
    9, 43, 43, 9, 14, 121, 121, 14, 44, 150, 149, 44, 27, 101, 101, 27,
    13, 53, 53, 13, 19, 149, 149, 19, 52, 162, 163, 52, 34, 115, 114, 34,
  ],
  [
    240, 205, 240, 241, 215, 122, 196, 210, 234, 136, 124, 208, 240, 208, 206, 241,
    227, 197, 232, 233, 196, 106, 190, 198, 221, 120, 87, 191, 227, 198, 196, 233,
    206, 180, 210, 211, 173, 96, 174, 181, 201, 116, 84, 175, 206, 178, 176, 211,
  ],
]
