import Diffusion
import Evaluation
import Foundation
import Images
import TestFiles
import Testing
import Torch

@Suite struct ImageEncoderTests {
  private let picture = Image(
    width: 40, height: 30, pixels: (0..<3600).map { UInt8(truncatingIfNeeded: $0 * $0 / 7 + $0) })

  @Test("every kind of encoder", arguments: ImageEncoders.all.map(\.modelType))
  func kinds(modelType: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.copyEncoder(modelType)
    let model = try ModelFolder(path: path)
    let kind = try ImageEncoders.kind(of: model)
    #expect(kind.modelType == modelType)
    let encoder = try ImageEncoders.load(model)
    let direction = encoder.direction(of: picture)
    #expect(abs(direction.norm().item() - 1) < 1e-6)
    #expect(encoder.direction(of: picture).equals(direction))
    #expect(abs(Alignment.means(of: [direction], with: [direction])[0] - 1) < 1e-6)
    // The embedding is that of the class token: it changes with the picture.
    let flat = encoder.direction(of: Image(width: 30, height: 30, color: .black))
    #expect((flat * direction).sum().item() < 0.999)
  }

  @Test("a text is cut where the model cannot read on, and that is told")
  func texts() throws {
    let folder = try TemporaryFolder()
    let clip = try CLIPEncoder(ModelFolder(path: folder.copyEncoder("clip")))
    #expect(clip.overflow(of: "a cat") == nil)
    let long = Array(repeating: "cat", count: 80).joined(separator: " ")
    #expect(clip.overflow(of: long) == "cat cat cat cat cat")
    #expect(clip.direction(of: long).equals(clip.direction(of: long + " dog")))
    #expect(!clip.direction(of: "a cat").equals(clip.direction(of: "a dog")))
  }

  @Test("folders that hold no encoder, or one that does not fit")
  func errors() throws {
    let folder = try TemporaryFolder()
    func message(_ path: String) throws -> String {
      let error = #expect(throws: ConfigurationError.self) { try ImageEncoders.load(ModelFolder(path: path)) }
      return try #require(error).description
    }
    let vit = try folder.copyEncoder("vit")
    try replace("\"image_size\": 24", with: "\"image_size\": 32", in: "\(vit)/config.json")
    #expect(throws: LoadingError.self) { try ImageEncoders.load(ModelFolder(path: vit)) }
    try replace("\"image_size\": 32", with: "\"image_size\": 24", in: "\(vit)/config.json")
    try replace("\"width\": 24", with: "\"width\": 16", in: "\(vit)/preprocessor_config.json")
    #expect(try message(vit) == "\(vit)/config.json: image_size is 24, expected the 16 x 24 of preprocessor_config.json")
    try replace("\"num_channels\": 3", with: "\"num_channels\": 1", in: "\(vit)/config.json")
    #expect(try message(vit).contains("num_channels is 1, which is not supported; supported: 3"))
    try replace("\"model_type\": \"vit\"", with: "\"model_type\": \"swin\"", in: "\(vit)/config.json")
    #expect(
      try message(vit)
        == "\(vit)/config.json: model_type is \"swin\", which is not supported; supported: \"clip\", \"vit\", \"dinov2\"")

    let clip = try folder.copyEncoder("clip")
    try replace("\"hidden_act\": \"quick_gelu\"", with: "\"hidden_act\": \"relu\"", in: "\(clip)/config.json")
    #expect(try message(clip).contains("hidden_act is \"relu\", which is not supported; supported: \"quick_gelu\", \"gelu\""))
    let dinov2 = try folder.copyEncoder("dinov2")
    try replace("\"hidden_size\": 8", with: "\"hidden_size\": 9", in: "\(dinov2)/config.json")
    #expect(try message(dinov2) == "\(dinov2)/config.json: hidden_size is 9, expected a multiple of num_attention_heads = 2")
    try FileManager.default.removeItem(atPath: "\(dinov2)/preprocessor_config.json")
    try replace("\"hidden_size\": 9", with: "\"hidden_size\": 8", in: "\(dinov2)/config.json")
    #expect(try message(dinov2).hasPrefix("\(dinov2)/preprocessor_config.json: cannot be read"))
  }

  @Test("the part configurations of 2022 go before those beside them")
  func oldConfiguration() throws {
    let json = """
      {"model_type": "clip", "projection_dim": 768, "text_config": {"eos_token_id": 2, "hidden_size": 1},
       "text_config_dict": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
       "vision_config": {"hidden_size": 1024, "patch_size": 14}, "vision_config_dict": null}
      """
    let found = try JSONDecoder().decode(CLIPModel.Configuration.self, from: Data(json.utf8))
    #expect(found.textConfig.hiddenSize == 768 && found.textConfig.eosTokenId == 49407)
    #expect(found.textConfig.withProjection && found.textConfig.projectionDim == 768)
    #expect(found.visionConfig.hiddenSize == 1024 && found.visionConfig.patches == 16)
  }

  @Test func alignmentByHand() {
    let (east, north) = (Tensor([1.0, 0]), Tensor([0, 1.0]))
    let between = Tensor([0.6, 0.8])
    #expect(Alignment.means(of: [east, between], with: [east, north]) == [0.5, 0.7])
    #expect(Alignment.cosines(of: [east, -between], with: [between, between]) == [0.6, -1])
  }

  @Test func rareTokensLeaveAPrompt() {
    let rare = RareTokens(["sbu", "szn"])
    #expect(rare.removed(from: "a SBU dog, in  szn style") == "a dog, in style")
    #expect(rare.removed(from: "a dog in \"szn\", style") == "a dog in style")
    #expect(rare.removed(from: "a dog in subways") == nil)
  }
}
