import Diffusion
import OrderedCollections
import TestFiles
import Testing
import Torch

/// Results and gradients as those of diffusers 0.42.1 and transformers 5.23.0 on the same weights, in float32: within 1e-5 of
/// the largest element. The reference itself is up to 4e-6 from float64. The names say the largest difference found on x86-64.
@Suite struct ParityTests {
  private let tolerance = 1e-5

  @Test("U-Nets, largest difference 7.1e-6", arguments: ["unet_sdxl", "unet_sd15", "unet_sd2"], ["expected", "expected_odd"])
  func unet(name: String, file: String) throws {
    let (unet, _) = try ModelFolder(path: "\(goldens)/models/\(name)").unet()
    let expected = try Expectation(name, file)
    let sample = try expected.input("sample")
    let states = try expected.input("encoder_hidden_states")
    var added: (textEmbeds: Tensor, timeIds: Tensor)?
    if unet.configuration.additionEmbedType != nil {
      added = (try expected.input("text_embeds"), try expected.input("time_ids"))
    }
    let output = unet(
      sample: sample, timestep: try expected.input("timestep"), encoderHiddenStates: states, addedConditions: added)
    var leaves: OrderedDictionary = ["input.sample": sample, "input.encoder_hidden_states": states]
    if let added {
      leaves["input.text_embeds"] = added.textEmbeds
      leaves["input.time_ids"] = added.timeIds
    }
    let largest = try expected.check(["sample": output], leaves: leaves)
    #expect(largest < tolerance, "\(name) \(file): \(largest)")
  }

  @Test("autoencoders, largest difference 1.9e-6", arguments: ["vae_sd", "vae_sdxl", "vae_f4_c8"])
  func autoencoder(name: String) throws {
    let (vae, _) = try ModelFolder(path: "\(goldens)/models/\(name)").vae()

    let encoding = try Expectation(name, "expected_encode")
    let (picture, noise) = (try encoding.input("sample"), try encoding.input("noise"))
    let latents = vae.encode(picture)
    #expect(picture.dim(2) == latents.mean.dim(2) * vae.scale)
    let encoded = try encoding.check(
      ["moments": latents.moments, "mode": latents.mode, "latent": latents.sample(noise: noise)],
      leaves: ["input.sample": picture, "input.noise": noise])
    #expect(encoded < tolerance, "\(name) encode: \(encoded)")

    let decoding = try Expectation(name, "expected_decode")
    let latent = try decoding.input("latent")
    let decoded = try decoding.check(["sample": vae.decode(latent)], leaves: ["input.latent": latent])
    #expect(decoded < tolerance, "\(name) decode: \(decoded)")
  }

  @Test(
    "text encoders, largest difference 0",
    arguments: ["clip_text_sd15", "clip_text_projection_sdxl", "clip_text_projection_eos"])
  func textEncoder(name: String) throws {
    let (encoder, weights) = try ModelFolder(path: "\(goldens)/models/\(name)").textEncoder()
    let expected = try Expectation(name)
    let embedding = try #require(weights.parameters["text_model.embeddings.token_embedding.weight"]).requiringGrad()
    let output = encoder(try expected.input("input_ids"))

    var outputs: OrderedDictionary = ["last_hidden_state": output.lastHiddenState]
    for (index, states) in output.hiddenStates.enumerated() { outputs["hidden_states.\(index)"] = states }
    // The reference gives the one or the other.
    let prefix = encoder.configuration.withProjection ? "text_model." : ""
    if let textEmbeds = output.textEmbeds {
      outputs["text_embeds"] = textEmbeds
    } else {
      outputs["pooler_output"] = output.poolerOutput
    }
    let largest = try expected.check(
      outputs,
      leaves: ["weight.\(prefix)embeddings.token_embedding.weight": embedding])
    #expect(largest < tolerance, "\(name): \(largest)")
  }
}
