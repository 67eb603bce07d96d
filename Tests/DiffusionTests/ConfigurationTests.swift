import Diffusion
import Foundation
import OrderedCollections
import TestFiles
import Testing
import Torch

@Suite struct ConfigurationTests {
  private func decode<Configuration: Decodable>(_ type: Configuration.Type, _ json: String) throws -> Configuration {
    try JSONDecoder().decode(type, from: Data(json.utf8))
  }

  // The sizes that the published files have.
  @Test("U-Nets have the published numbers of parameters")
  func publishedUNets() throws {
    // stable-diffusion-v1-5/unet/config.json, which says little more than what differs from the defaults.
    let sd15 = try decode(
      UNet2DConditionModel.Configuration.self,
      #"{"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "cross_attention_dim": 768}"#)
    for (configuration, count) in [(sd15, 859_520_964), (UNet2DConditionModel.Configuration(), 2_567_463_684)] {
      let store = WeightStore(.shapes, dtype: .bfloat16)
      _ = try UNet2DConditionModel(configuration, store.root)
      #expect(store.parameters.values.reduce(0) { $0 + $1.count } == count)
    }
  }

  @Test("Stable Diffusion XL's autoencoder and text encoders have the published numbers of parameters")
  func publishedParts() throws {
    let vae = WeightStore(.shapes)
    _ = try AutoencoderKL(.init(), vae.root)
    #expect(vae.parameters.values.reduce(0) { $0 + $1.count } == 83_653_863)
    let clip = WeightStore(.shapes)
    _ = try CLIPTextModel(.init(), clip.root)
    #expect(clip.parameters.values.reduce(0) { $0 + $1.count } == 123_060_480)
    let openCLIP = WeightStore(.shapes, dtype: .bfloat16)
    let large = CLIPTextModel.Configuration(
      withProjection: true, hiddenSize: 1280, intermediateSize: 5120, projectionDim: 1280, numHiddenLayers: 32,
      numAttentionHeads: 20, hiddenAct: .gelu)
    _ = try CLIPTextModel(large, openCLIP.root)
    #expect(openCLIP.parameters.values.reduce(0) { $0 + $1.count } == 694_659_840)
  }

  @Test("what is encoded decodes to the same", arguments: ["unet_sdxl", "unet_sd15", "unet_sd2"])
  func roundTrip(name: String) throws {
    let read = try ModelFolder(path: "\(goldens)/models/\(name)").configuration(UNet2DConditionModel.Configuration.self)
    var distilled = read
    distilled.midBlockType = nil
    distilled.sampleSize = nil
    for configuration in [read, distilled] {
      let data = try JSONEncoder().encode(configuration)
      #expect(try JSONDecoder().decode(UNet2DConditionModel.Configuration.self, from: data) == configuration)
    }
  }

  @Test(
    "an unsupported setting of a U-Net is named with what was found and what there is",
    arguments: [
      (#"{"act_fn": "gelu"}"#, #"act_fn is "gelu", which is not supported; supported: "silu", "swish""#),
      (#"{"resnet_time_scale_shift": "scale_shift"}"#, #"supported: "default""#),
      (#"{"only_cross_attention": [true, false]}"#, "only_cross_attention is [true, false], which is not supported"),
      (#"{"time_cond_proj_dim": 256}"#, "time_cond_proj_dim is 256, which is not supported; supported: null"),
      (#"{"num_attention_heads": 8}"#, "num_attention_heads is 8"),
      (#"{"encoder_hid_dim_type": {"a": 1}}"#, "encoder_hid_dim_type is an object"),
      (#"{"_class_name": "UNet2DModel"}"#, #"_class_name is "UNet2DModel", which is not supported"#),
      (
        #"{"down_block_types": ["DownBlock2D", "AttnDownBlock2D"]}"#,
        #"down_block_types is "AttnDownBlock2D", which is not supported; supported: "DownBlock2D", "CrossAttnDownBlock2D""#
      ),
      (#"{"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}"#, #"supported: "UNetMidBlock2DCrossAttn", "UNetMidBlock2D""#),
      (#"{"addition_embed_type": "image"}"#, #"addition_embed_type is "image", which is not supported; supported: "text_time""#),
    ])
  func unsupported(json: String, message: String) throws {
    let error = #expect(throws: ConfigurationError.self) { try decode(UNet2DConditionModel.Configuration.self, json) }
    #expect(try #require(error).description.contains(message), "\(error?.description ?? "")")
  }

  @Test("keys that do not matter to the computation are accepted")
  func ignored() throws {
    let json = #"{"_name_or_path": "x", "sample_size": [64, 96], "a_new_key": {"b": [1]}, "dropout": 0.0, "act_fn": "silu"}"#
    #expect(try decode(UNet2DConditionModel.Configuration.self, json).sampleSize == [64, 96])
  }

  @Test("settings of a U-Net that cannot hold together")
  func inconsistent() throws {
    func message(_ change: (inout UNet2DConditionModel.Configuration) -> Void) throws -> String {
      var configuration = UNet2DConditionModel.Configuration.small
      change(&configuration)
      let error = #expect(throws: ConfigurationError.self) {
        try UNet2DConditionModel(configuration, WeightStore(.shapes).root)
      }
      return try #require(error).description
    }
    #expect(
      try message { $0.attentionHeadDim = [1, 3] }
        == "attention_head_dim is [1, 3], expected one number or 3, one a block")
    #expect(try message { $0.attentionHeadDim = [1, 5, 2] }.contains("heads that divide block_out_channels = [8, 12, 16]"))
    #expect(try message { $0.normNumGroups = 5 }.contains("multiples of norm_num_groups = 5"))
    #expect(try message { $0.upBlockTypes = [.upBlock2D] }.contains("up_block_types is 1 names, expected 3"))
    #expect(try message { $0.layersPerBlock = 0 }.contains("layers_per_block is 0, expected positive numbers"))
    // Beyond these there is no model, only overflow.
    #expect(
      try message { $0.layersPerBlock = .one(1 << 40) }.contains(
        "layers_per_block is 1099511627776, expected positive numbers, 1000"))
    #expect(try message { $0.blockOutChannels = [1 << 62, 8, 8] }.contains("at most"))
    #expect(
      try message { $0.sampleSize = .one(1 << 62) }.contains("sample_size is 4611686018427387904, expected positive numbers"))
    #expect(try message { $0.additionTimeEmbedDim = nil }.contains("addition_time_embed_dim is null"))
    #expect(
      try message { $0.projectionClassEmbeddingsInputDim = nil }.contains("projection_class_embeddings_input_dim is null"))
  }

  @Test("unsupported and inconsistent settings of the other models")
  func others() throws {
    let vae = #expect(throws: ConfigurationError.self) {
      try decode(AutoencoderKL.Configuration.self, #"{"down_block_types": ["AttnDownEncoderBlock2D"]}"#)
    }
    #expect(vae?.description.contains(#"supported: "DownEncoderBlock2D""#) == true)
    let statistics = #expect(throws: ConfigurationError.self) {
      try AutoencoderKL(.init(latentsMean: [0, 0, 0]), WeightStore(.shapes).root)
    }
    #expect(statistics?.description.contains("latents_mean is [0.0, 0.0, 0.0], expected 4 numbers") == true)
    let heads = #expect(throws: ConfigurationError.self) {
      try CLIPTextModel(.init(hiddenSize: 30, numAttentionHeads: 4), WeightStore(.shapes).root)
    }
    #expect(heads?.description == "hidden_size is 30, expected a multiple of num_attention_heads = 4, 1048576 at most")
  }

  @Test(
    "which text encoder has a projection its weights tell, whatever the part says of itself",
    arguments: [
      ("text_encoder", "CLIPModel"), ("text_encoder", "CLIPTextModelWithProjection"), ("text_encoder_2", "CLIPTextModel"),
    ])
  func architectures(part: String, name: String) throws {
    let folder = try TemporaryFolder()
    try FileManager.default.copyItem(atPath: "\(goldens)/pipelines/sdxl", toPath: folder("base"))
    let file = folder("base/\(part)/config.json")
    var fields = try #require(JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: file))) as? [String: Any])
    fields["architectures"] = [name]
    try JSONSerialization.data(withJSONObject: fields).write(to: URL(filePath: file))
    let model = try DiffusionModel(folder: folder("base"))
    #expect(model.textEncoders.map(\.model.configuration.withProjection) == [false, true])
    #expect(
      try Checkpoint(path: folder("base")).projectionShapes() == Checkpoint(path: "\(goldens)/pipelines/sdxl").projectionShapes())
  }
}
