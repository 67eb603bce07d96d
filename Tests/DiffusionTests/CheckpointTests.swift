import Diffusion
import Foundation
import OrderedCollections
import SafeTensors
import TestFiles
import TestSupport
import Testing
import Tokenization
import Torch

@Suite struct CheckpointTests {
  @Test("all parts of pipelines that published and today's libraries wrote", arguments: ["sdxl", "sd15"])
  func pipelines(name: String) throws {
    let checkpoint = try Checkpoint(path: "\(goldens)/pipelines/\(name)")
    let (unet, weights) = try checkpoint.unet(dtype: .bfloat16)
    #expect(weights.parameters.values.allSatisfy { $0.dtype == .bfloat16 })
    _ = try checkpoint.vae()
    // The one of sd15 is without the prefix `text_model.` in its file.
    let (text, textWeights) = try checkpoint.textEncoder()
    #expect(textWeights.parameters.keys.allSatisfy { $0.hasPrefix("text_model.") })
    #expect(textWeights.projections.keys.contains("text_model.encoder.layers.0.self_attn.q_proj"))
    var width = text.configuration.hiddenSize
    if name == "sdxl" { width += try checkpoint.textEncoder(1).0.configuration.hiddenSize }
    #expect(unet.configuration.crossAttentionDim == .one(width))
  }

  @Test("a dropped, a renamed and a reshaped key are named, all at once")
  func strictness() throws {
    let folder = try ModelFolder(path: "\(goldens)/models/unet_sdxl")
    let configuration = try folder.configuration(UNet2DConditionModel.Configuration.self)
    let tensors = Tensors(try folder.unet().1.parameters)
    tensors.tensors["conv_in.bias"] = nil
    tensors.tensors["conv_out.prejudice"] = tensors.tensors.removeValue(forKey: "conv_out.bias")
    tensors.tensors["time_embedding.linear_1.weight"] = Tensor.zeros([8, 32])
    let store = WeightStore(.collection(tensors))
    _ = try UNet2DConditionModel(configuration, store.root)
    let error = try #require(throws: LoadingError.self) { try store.finish() }
    #expect(error.missing == ["conv_in.bias [8]", "conv_out.bias [4]"])
    #expect(error.unused == ["conv_out.prejudice"])
    #expect(error.misshapen == ["time_embedding.linear_1.weight: found [8, 32], expected [32, 8]"])
    #expect(error.description.contains("tensors of a test does not fit"))
  }

  @Test("attention of autoencoders under its names from before diffusers 0.15")
  func legacyAutoencoder() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("models/vae_sd")
    let (vae, weights) = try ModelFolder(path: path).vae()
    let names: KeyValuePairs = ["to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"]
    var legacy: OrderedDictionary<String, Tensor> = [:]
    for (key, tensor) in weights.parameters {
      let attention = ".mid_block.attentions.0."
      let name = names.reduce(key) { $0.replacing("\(attention)\($1.key).", with: "\(attention)\($1.value).") }
      legacy[name] = tensor
    }
    #expect(legacy.keys.count { weights.parameters[$0] == nil } == 16)
    try saveSafeTensors(legacy, to: "\(path)/diffusion_pytorch_model.safetensors", overwrite: true)
    let (found, _) = try ModelFolder(path: path).vae()
    let latents = Tensor.randn([1, 4, 2, 2], generator: Generator(seed: 0))
    #expect(found.decode(latents).equals(vae.decode(latents)))
  }

  @Test("position_ids of older text encoders are no error, other keys are")
  func positionIds() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("models/clip_text_sd15")
    var tensors = try ModelFolder(path: path).textEncoder().1.parameters
    tensors["text_model.embeddings.position_ids"] = Tensor.arange(20).unsqueezed(0)
    try saveSafeTensors(tensors, to: "\(path)/model.safetensors", overwrite: true)
    _ = try ModelFolder(path: path).textEncoder()
    tensors["text_model.embeddings.positions"] = Tensor.arange(20)
    try saveSafeTensors(tensors, to: "\(path)/model.safetensors", overwrite: true)
    let error = #expect(throws: LoadingError.self) { try ModelFolder(path: path).textEncoder() }
    #expect(error?.unused == ["text_model.embeddings.positions"])
  }

  @Test("a model in several files, and what a broken index says")
  func shards() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("models/unet_sd15")
    let (_, whole) = try ModelFolder(path: path).unet()
    let stem = "\(path)/diffusion_pytorch_model"
    var places: [String: String] = [:]
    for part in 0..<2 {
      let file = "diffusion_pytorch_model-0000\(part + 1)-of-00002.safetensors"
      let tensors = whole.parameters.elements.enumerated().filter { $0.offset % 2 == part }.map(\.element)
      try saveSafeTensors(.init(uniqueKeysWithValues: tensors.map { ($0.key, $0.value) }), to: "\(path)/\(file)")
      for (key, _) in tensors { places[key] = file }
    }
    // An older file of another training that stayed there is not read, as by diffusers.
    try saveSafeTensors(
      .init(uniqueKeysWithValues: whole.parameters.map { ($0.key, $0.value * 2) }), to: "\(stem).safetensors", overwrite: true)
    func write(_ index: [String: [String: String]]) throws {
      try JSONEncoder().encode(index).write(to: URL(filePath: "\(stem).safetensors.index.json"))
    }
    try write(["weight_map": places])
    let (_, sharded) = try ModelFolder(path: path).unet()
    #expect(sharded.parameters.keys == whole.parameters.keys)
    #expect(zip(sharded.parameters.values, whole.parameters.values).allSatisfy { $0.equals($1) })
    try FileManager.default.removeItem(atPath: "\(stem).safetensors")

    let place = places.removeValue(forKey: "conv_in.bias")
    places["conv_in.weight"] = place
    try write(["weight_map": places])
    let mixed = #expect(throws: CheckpointError.self) { try ModelFolder(path: path).unet() }
    #expect(
      mixed?.description.hasSuffix(
        """
        the index and its files are not of one model: 1 tensor in the index alone (\(place!): conv_in.weight); 2 tensors in a file \
        alone (diffusion_pytorch_model-00001-of-00002.safetensors: conv_in.weight, diffusion_pytorch_model-00002-of-00002.safetensors: \
        conv_in.bias); download the index and the files again, from one place
        """) == true, "\(String(describing: mixed))")
    places["conv_in.bias"] = "absent.safetensors"
    try write(["weight_map": places])
    let absent = #expect(throws: CheckpointError.self) { try ModelFolder(path: path).unet() }
    #expect(
      absent?.description.hasSuffix(
        ": absent.safetensors is not beside it; a model in several files needs all of them, so download what is missing")
        == true)

    places["conv_in.bias"] = "../other.safetensors"
    try write(["weight_map": places])
    let outside = #expect(throws: CheckpointError.self) { try ModelFolder(path: path).unet() }
    #expect(outside?.description.hasSuffix("../other.safetensors is not a file of this folder") == true)
    try write(["weights": places])
    let other = #expect(throws: CheckpointError.self) { try ModelFolder(path: path).unet() }
    #expect(other?.description.hasSuffix("weight_map is missing") == true)
  }

  @Test("the fp16 variant is read when asked for and where there is no other")
  func variants() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("models/unet_sd15")
    let plain = "\(path)/diffusion_pytorch_model.safetensors"
    let halves = try ModelFolder(path: path).unet().1.parameters.mapValues { $0.to(dtype: .float16) }
    try saveSafeTensors(halves, to: "\(path)/diffusion_pytorch_model.fp16.safetensors")
    func names(_ variant: String?) throws -> String {
      try ModelFolder(path: path, variant: variant).weights(stem: "diffusion_pytorch_model").name
    }
    #expect(try names(nil) == plain)
    #expect(try names("fp16").hasSuffix(".fp16.safetensors"))
    let error = #expect(throws: CheckpointError.self) { try names("bf16") }
    #expect(error?.description.contains("expected one of diffusion_pytorch_model.bf16.safetensors") == true)
    try FileManager.default.removeItem(atPath: plain)
    #expect(try names(nil).hasSuffix(".fp16.safetensors"))
    let (_, store) = try ModelFolder(path: path).unet(dtype: .float32)
    #expect(store.parameters.values.allSatisfy { $0.dtype == .float32 })
  }

  @Test("of a variant that only some parts have, the other parts are as without it")
  func partialVariant() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("pipelines/sd15")
    let plain = try Checkpoint(path: path)
    let changed = try plain.unet().1.parameters.mapValues { $0 + 1 }
    try saveSafeTensors(changed, to: "\(path)/unet/diffusion_pytorch_model.non_ema.safetensors")
    let (vae, text) = (try plain.vae().1, try plain.textEncoder().1)
    // Full weights are not the last resort.
    try FileManager.default.moveItem(
      atPath: "\(path)/vae/diffusion_pytorch_model.safetensors",
      toPath: "\(path)/vae/diffusion_pytorch_model.fp16.safetensors")
    let checkpoint = try Checkpoint(path: path, .init(variant: "non_ema"))
    let unet = try checkpoint.unet().1
    #expect(unet.parameters.keys == changed.keys)
    #expect(zip(unet.parameters.values, changed.values).allSatisfy { $0.equals($1) })
    try expectEqual(try checkpoint.vae().1, vae)
    try expectEqual(try checkpoint.textEncoder().1, text)

    let error = try #require(throws: CheckpointError.self) { try Checkpoint(path: path, .init(variant: "bf16")) }
    #expect(
      error.description
        == "\(path): no part has weights of the variant bf16; expected one of diffusion_pytorch_model.bf16.safetensors, "
        + "diffusion_pytorch_model.safetensors.index.bf16.json, model.bf16.safetensors, model.safetensors.index.bf16.json; "
        + "without --variant, the full weights are read")
  }

  @Test("one tokenizer for all text encoders leaves each its padding, in both layouts", arguments: ["tokenizer", "tokenizer_2"])
  func sharedTokenizer(name: String) throws {
    let file = try OriginalCheckpoint("sdxl")
    let own = try DiffusionModel(folder: file.pipeline)
    let tokenizer = "\(file.pipeline)/\(name)"
    let sizes = SizeConditioning(height: 48, width: 48)
    for checkpoint in [
      try Checkpoint(path: file.pipeline, .init(tokenizer: tokenizer)), try file.open({ $0.tokenizer = tokenizer }),
    ] {
      let shared = try DiffusionModel(checkpoint)
      for prompt in ["a sbu cat", "a cat! !", ""] {
        for (found, expected) in zip(shared.textEncoders, own.textEncoders) {
          #expect(found.tokenizer.encode(prompt) == expected.tokenizer.encode(prompt))
        }
        let (found, expected) = (shared.conditioning([prompt], sizes: sizes), own.conditioning([prompt], sizes: sizes))
        #expect(found.states.equals(expected.states))
        // The projection lies transposed in the file: sums in another order.
        let error = difference(try #require(found.added).textEmbeds, try #require(expected.added).textEmbeds)
        #expect(error < 1e-6, "\(error)")
      }
    }
  }

  @Test("folders that are no checkpoints")
  func missing() throws {
    let folder = try TemporaryFolder()
    let none = #expect(throws: CheckpointError.self) { try ModelFolder(path: "\(folder.path)/absent") }
    #expect(none?.description.contains("absent: no such folder; expected a model in the layout of diffusers") == true)
    let part = #expect(throws: CheckpointError.self) { try Checkpoint(path: folder.path).unet() }
    #expect(part?.description.contains("/unet: no such folder") == true)
    let configuration = #expect(throws: ConfigurationError.self) { try ModelFolder(path: folder.path).unet() }
    #expect(configuration?.description.hasPrefix("\(folder.path)/config.json: cannot be read") == true)

    try "{}".write(toFile: "\(folder.path)/config.json", atomically: true, encoding: .utf8)
    let weights = #expect(throws: CheckpointError.self) { try ModelFolder(path: folder.path).textEncoder() }
    #expect(
      weights?.description
        == "\(folder.path): no weights; expected one of model.safetensors, model.safetensors.index.json, "
        + "model.fp16.safetensors, model.safetensors.index.fp16.json")
    try "".write(toFile: "\(folder.path)/pytorch_model.bin", atomically: true, encoding: .utf8)
    let pickle = #expect(throws: CheckpointError.self) { try ModelFolder(path: folder.path).textEncoder() }
    #expect(pickle?.description.contains("the weights are a pickle (pytorch_model.bin)") == true)
    #expect(pickle?.description.contains("save_pretrained") == true)

    try "{\"hidden_size\": \"wide\"}".write(toFile: "\(folder.path)/config.json", atomically: true, encoding: .utf8)
    let malformed = #expect(throws: ConfigurationError.self) { try ModelFolder(path: folder.path).textEncoder() }
    #expect(malformed?.description.contains("config.json: is not a model configuration: hidden_size: ") == true)
  }

  @Test("the file is named in errors that only the model finds")
  func inconsistentFile() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("models/unet_sd15")
    let text = try String(contentsOfFile: "\(path)/config.json", encoding: .utf8)
    try text.replacing("\"norm_num_groups\": 4", with: "\"norm_num_groups\": 7")
      .write(toFile: "\(path)/config.json", atomically: true, encoding: .utf8)
    let error = #expect(throws: ConfigurationError.self) { try ModelFolder(path: path).unet() }
    #expect(error?.description.hasPrefix("\(path)/config.json: block_out_channels is [8, 16, 16]") == true)
  }

  @Test("models written are read again, bit for bit, and never over others unasked")
  func saving() throws {
    let folder = try TemporaryFolder()
    let store = WeightStore(.random(Generator(seed: 5)))
    _ = try UNet2DConditionModel(.small, store.root)
    let path = "\(folder.path)/a/unet"
    try ModelFolder.save(.small, store.parameters, to: path)
    let (read, weights) = try ModelFolder(path: path).unet()
    #expect(read.configuration == .small)
    #expect(weights.parameters.keys == store.parameters.keys)
    #expect(zip(weights.parameters.values, store.parameters.values).allSatisfy { $0.equals($1) })
    #expect(throws: AtomicFileError.self) { try ModelFolder.save(.small, store.parameters, to: path) }
    try ModelFolder.save(.small, store.parameters, to: path, overwrite: true)
  }
}
