import Hub
import TestHub
import Testing

/// Repositories that are no model in diffusers' layout.
@Suite(.onOwnThreads) struct HubSingleFileTests {
  private let cache: TemporaryCache

  init() throws { cache = try TemporaryCache() }

  /// Why a repository with these files cannot be used.
  private func failure(_ files: [String], _ selection: HubSelection = .pipeline(variant: nil)) async throws -> String {
    var model = FakeModel()
    model.files = Dictionary(uniqueKeysWithValues: files.map { ($0, model.files[$0] ?? Array($0.utf8)) })
    let server = try ScriptedServer { [model] request, _ in model.answer(request) }
    return try await #require(throws: HubError.self) {
      try await cache.hub(server).snapshot(of: FakeModel.id, selection)
    }.description
  }

  @Test("models in one file are named with the way to use them")
  func singleFiles() async throws {
    let message = try await failure(["b.safetensors", "a'c $(x).safetensors", "README.md", "vae/c.safetensors"])
    #expect(
      message == """
        org/tiny: not a model that can be used here; its repository lacks model_index.json. It has a'c $(x).safetensors, \
        b.safetensors at its top: if one of them is what you want, fetch it, such as with
            hf download org/tiny --revision main 'a'\\''c $(x).safetensors'
        and give the path that this prints with --base
        """)
    let many = try await failure((10..<20).map { "\($0).safetensors" })
    #expect(many.contains("It has 10.safetensors, ") && many.contains(", 17.safetensors and 2 more at its top"))
    let autoencoder = try await failure(["vae.safetensors", "vae.ckpt"], .autoencoder(variant: nil))
    #expect(autoencoder.contains("lacks config.json, diffusion_pytorch_model.safetensors. It has vae.safetensors at its top"))
    #expect(autoencoder.hasSuffix("with --vae"))
    #expect(try await !failure(["a.safetensors"], .tokenizers).contains("at its top"))
  }

  @Test("pickles are spoken of only where there are some in place of what is missing")
  func pickles() async throws {
    let pickles = "Weights that are pickles (.bin) are not read"
    #expect(try await !failure(["README.md"]).contains(pickles))
    #expect(try await failure(["README.md"]).contains("its repository lacks model_index.json, scheduler/scheduler_config.json, "))
    let whole = Array(FakeModel().files.keys)
    // Where it has full weights, a variant is missing, and nothing else.
    let variant = try await failure(whole, .pipeline(variant: "bf16"))
    #expect(variant.hasSuffix("vae/diffusion_pytorch_model.bf16.safetensors"))
    let pickled = whole.filter { !$0.hasPrefix("text_encoder/model") }
    #expect(try await failure(pickled).contains("lacks text_encoder/model.safetensors. \(pickles)"))
    #expect(try await failure(pickled).contains("It has tiny.safetensors at its top"))
    let lacking = pickled.filter { !$0.hasSuffix(".bin") }
    #expect(try await failure(lacking).hasSuffix("its repository lacks text_encoder/model.safetensors"))
  }
}
