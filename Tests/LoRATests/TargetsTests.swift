import Foundation
import LoRA
import OrderedCollections
import Testing

@Suite struct TargetsTests {
  @Test(
    "numbers of layers as sd-scripts reports them",
    arguments: [
      ("attention", 560), ("attention+ff", 700), ("attention+ff+proj", 722), ("text-encoders", 264),
      ("attn2.to_k,attn2.to_v", 140), ("to_out.0", 140),
    ])
  func stableDiffusionXL(text: String, count: Int) throws {
    #expect(try Targets(text).paths(in: .stableDiffusionXL).count == count)
  }

  @Test("and for SD 1.5", arguments: [("attention", 128), ("attention+ff+proj", 192), ("text-encoders", 72)])
  func stableDiffusion1(text: String, count: Int) throws {
    #expect(try Targets(text).paths(in: .stableDiffusion1).count == count)
  }

  @Test func everyLayerHasAKind() {
    let base = ModuleNames.stableDiffusionXL
    let others = base.paths.filter { ModuleKind(of: $0) == .other }
    #expect(
      others == [
        "unet.conv_in", "unet.time_embedding.linear_1", "unet.time_embedding.linear_2", "unet.add_embedding.linear_1",
        "unet.add_embedding.linear_2", "unet.conv_out",
      ])
  }

  @Test("a layer's kind is the same in every dialect's spelling")
  func kindsOfSpellings() {
    for dialect in Dialects.all {
      for base in [ModuleNames.stableDiffusionXL, .stableDiffusion1] {
        for (path, stems) in dialect.spellings(in: base) {
          for stem in stems { #expect(ModuleKind(of: stem) == ModuleKind(of: path), "\(stem)") }
        }
      }
    }
  }

  @Test func description() throws {
    for text in ["attention", "attention+ff+text-encoders", "attn2.to_k,to_out.0"] {
      let targets = try Targets(text)
      #expect(targets.description == text)
      #expect(try JSONDecoder().decode(Targets.self, from: JSONEncoder().encode(targets)) == targets)
    }
  }

  @Test func errors() throws {
    for text in ["attention+fff", "", "to_q,,to_k", "to q"] {
      let error = try #require(throws: TargetsError.self) { try Targets(text) }
      #expect(error.description.contains("\"\(text)\" does not name layers; expected kinds joined by + (attention, ff"))
    }
    let error = try #require(throws: TargetsError.self) { try Targets("to_w").paths(in: .stableDiffusionXL) }
    #expect(error.description.contains("no layer of the base model is meant by \"to_w\"; it has\n  attention: 560 layers"))
    let unet = ModuleNames(ModuleNames.stableDiffusionXL.shapes.filter { $0.key.hasPrefix("unet.") })
    let none = try #require(throws: TargetsError.self) { try Targets("attention+text-encoders").paths(in: unet) }
    #expect(none.description.contains("\"text-encoders\""))
  }
}
