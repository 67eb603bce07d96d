import Foundation
import Hub
import TestHub
import Testing

@Suite(.onOwnThreads) struct HubTests {
  let cache: TemporaryCache
  let model = FakeModel()
  init() throws { cache = try TemporaryCache() }

  /// A server that answers as the hub does but where the test says otherwise.
  func server(
    _ exception: @escaping @Sendable (_ request: Request, _ count: Int) -> Answer? = { _, _ in nil }
  ) throws -> ScriptedServer {
    try ScriptedServer { [model] in exception($0, $1) ?? model.answer($0) }
  }

  func fetch(
    _ server: ScriptedServer, _ selection: HubSelection = .pipeline(variant: nil), token: String? = nil
  ) async throws -> String {
    try await cache.hub(server, token: token).snapshot(of: FakeModel.id, selection)
  }

  /// The message of a fetch that fails.
  func failure(
    _ server: ScriptedServer, _ selection: HubSelection = .pipeline(variant: nil), token: String? = nil
  ) async throws -> String {
    try await #require(throws: HubError.self) { try await fetch(server, selection, token: token) }.description
  }

  func isWhole() throws -> Bool { try FakeModel.needed.allSatisfy { try cache.bytes($0) == model.files[$0] } }

  static let large = FakeModel.path(of: FakeModel.large)

  // MARK: what is fetched, and where it goes

  @Test("only what a pipeline needs, in the layout that Python shares, and nothing a second time")
  func layout() async throws {
    let server = try server()
    #expect(try await fetch(server) == cache.snapshot)
    #expect(cache.files(cache.snapshot) == FakeModel.needed)
    #expect(try isWhole())
    #expect(Set(server.paths) == Set([FakeModel.listing] + FakeModel.needed.map(FakeModel.path)))
    #expect(Set(cache.files("\(cache.model)/blobs")) == Set(FakeModel.needed.map(model.hash)))
    let manager = FileManager.default
    #expect(
      try manager.destinationOfSymbolicLink(atPath: "\(cache.snapshot)/unet/config.json")
        == "../../../blobs/\(model.hash("unet/config.json"))")
    #expect(
      try manager.destinationOfSymbolicLink(atPath: "\(cache.snapshot)/model_index.json")
        == "../../blobs/\(model.hash("model_index.json"))")
    #expect(try String(contentsOfFile: "\(cache.model)/refs/main", encoding: .utf8) == FakeModel.commit)

    let count = server.requests.count
    #expect(try await fetch(server) == cache.snapshot)
    #expect(try await cache.hub(server, isOffline: true).snapshot(of: FakeModel.id, .pipeline(variant: nil)) == cache.snapshot)
    #expect(await cache.hub(server).cached(FakeModel.id, .tokenizers) == cache.snapshot)
    #expect(await cache.hub(server).cached(FakeModel.id, .pipeline(variant: "bf16")) == nil)
    #expect(server.requests.count == count)
  }

  @Test("a variant, the tokenizers alone, the configurations alone")
  func selections() async throws {
    let server = try server()
    _ = try await fetch(server, .tokenizers)
    let tokenizer = FakeModel.needed.filter { $0.hasPrefix("tokenizer/") }
    #expect(cache.files(cache.snapshot) == tokenizer)
    _ = try await fetch(server, .configurations)
    let configurations = FakeModel.needed.filter { !$0.hasSuffix(".safetensors") }
    #expect(cache.files(cache.snapshot) == configurations)
    _ = try await fetch(server, .pipeline(variant: "fp16"))
    let halves = FakeModel.needed.filter { $0.hasSuffix(".safetensors") }
      .map { $0.replacing(".safetensors", with: ".fp16.safetensors") }
    #expect(cache.files(cache.snapshot) == (configurations + halves).sorted())
    #expect(
      try await failure(server, .pipeline(variant: "bf16")).contains("its repository lacks text_encoder/model.bf16.safetensors"))
    #expect(
      try await failure(server, .autoencoder(variant: nil)).contains("lacks config.json, diffusion_pytorch_model.safetensors"))
  }

  @Test("weights in half precision do for full ones only where the hub has no full ones or does not answer")
  func halfPrecision() async throws {
    let server = try server()
    // What Python leaves of variant="fp16".
    _ = try await fetch(server, .pipeline(variant: "fp16"))
    let halves = cache.files(cache.snapshot)
    let nowhere = Hub(HubEnvironment(cache: cache.path, endpoint: "http://127.0.0.1:9"), backoff: .zero)
    let busy = try self.server { _, _ in Answer(status: 503) }
    for hub in [cache.hub(server, isOffline: true), nowhere, cache.hub(busy)] {
      #expect(try await hub.snapshot(of: FakeModel.id, .pipeline(variant: nil)) == cache.snapshot)
    }
    #expect(cache.files(cache.snapshot) == halves)
    _ = try await fetch(server)
    #expect(try isWhole())

    var model = model
    for name in FakeModel.needed where name.hasSuffix(".safetensors") { model.files[name] = nil }
    let half = model
    let poor = try ScriptedServer { request, _ in half.answer(request) }
    let other = try TemporaryCache()
    // Fetched as the variant that it is, asked for once more whether there is something better, then known.
    for variant in ["fp16", nil, nil] {
      #expect(try await other.hub(poor).snapshot(of: FakeModel.id, .pipeline(variant: variant)) == other.snapshot)
    }
    #expect(other.files(other.snapshot) == halves)
    #expect(poor.paths.count { $0 == FakeModel.listing } == 2)
    let absent = ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"]
    #expect(
      other.files("\(other.model)/.no_exist/\(FakeModel.commit)").filter { !$0.hasPrefix("tokenizer/") }
        == absent.flatMap { ["\($0).safetensors", "\($0).safetensors.index.json"] })
  }

  @Test("a variant that only the U-Net has, and one that is on the hub beside the weights in the cache")
  func partialVariant() async throws {
    var model = model
    model.files["unet/diffusion_pytorch_model.non_ema.safetensors"] = FakeModel.bytes(600, 11)
    let whole = model
    let server = try ScriptedServer { request, _ in whole.answer(request) }
    let needed = FakeModel.needed.map { $0.replacing(FakeModel.large, with: "unet/diffusion_pytorch_model.non_ema.safetensors") }
    for _ in 0..<2 { _ = try await fetch(server, .pipeline(variant: "non_ema")) }
    #expect(cache.files(cache.snapshot) == needed)
    #expect(server.paths.count { $0 == FakeModel.listing } == 1)

    _ = try await fetch(server)
    let offline = try await #require(throws: HubError.self) {
      try await cache.hub(server, isOffline: true).snapshot(of: FakeModel.id, .pipeline(variant: "fp16"))
    }
    let halves = ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"]
      .map { "\($0).fp16.safetensors" }
    #expect(offline.description.hasSuffix("hf download org/tiny --revision main \(halves.joined(separator: " "))"))
    _ = try await fetch(server, .pipeline(variant: "fp16"))
    #expect(Set(cache.files(cache.snapshot)) == Set(FakeModel.needed + needed + halves))
  }

  @Test("an encoder of pictures, with its preprocessing, and with its tokenizer where it knows texts")
  func imageEncoders() async throws {
    let needed = ["config.json", "model.safetensors", "preprocessor_config.json"]
    var model = model
    for name in needed + ["pytorch_model.bin"] where name != "model.safetensors" { model.files[name] = Array(name.utf8) }
    let pickled = model
    let message = try await failure(
      try ScriptedServer { request, _ in pickled.answer(request) }, .imageEncoder(texts: false))
    #expect(message.contains("lacks model.safetensors. Weights that are pickles (.bin) are not read"))
    model.files["model.safetensors"] = Array("weights".utf8)
    let silent = model
    let server = try ScriptedServer { request, _ in silent.answer(request) }
    _ = try await fetch(server, .imageEncoder(texts: false))
    #expect(cache.files(cache.snapshot) == needed)
    #expect(try await failure(server, .imageEncoder(texts: true)).contains("lacks vocab.json, merges.txt"))
    for name in ["vocab.json", "merges.txt"] { model.files[name] = Array(name.utf8) }
    let whole = model
    _ = try await fetch(try ScriptedServer { request, _ in whole.answer(request) }, .imageEncoder(texts: true))
    #expect(cache.files(cache.snapshot) == (needed + ["vocab.json", "merges.txt"]).sorted())
  }

  @Test("weights in several files are those that their index names")
  func shards() async throws {
    var model = model
    model.files[FakeModel.large] = nil
    let (first, second) = ("unet/diffusion_pytorch_model-1.safetensors", "unet/diffusion_pytorch_model-2.safetensors")
    model.files["unet/diffusion_pytorch_model.safetensors.index.json"] = Array(
      #"{"weight_map": {"a": "diffusion_pytorch_model-1.safetensors", "b": "diffusion_pytorch_model-2.safetensors"}}"#.utf8)
    model.files[first] = FakeModel.bytes(900, 8)
    model.files["unet/diffusion_pytorch_model-3.safetensors"] = FakeModel.bytes(900, 9)
    let lacking = model
    let incomplete = try ScriptedServer { request, _ in lacking.answer(request) }
    #expect(try await failure(incomplete).contains("its repository lacks \(second)"))
    model.files[second] = FakeModel.bytes(800, 10)
    let whole = model
    _ = try await fetch(try ScriptedServer { request, _ in whole.answer(request) })
    #expect(
      cache.files("\(cache.snapshot)/unet").filter { $0.hasSuffix(".safetensors") }
        == [first, second].map { String($0.dropFirst(5)) })
  }

  // MARK: servers as they are

  @Test("a redirection to another host is followed without the token")
  func redirection() async throws {
    let store = try server()
    let address = store.address
    let server = try server { request, _ in
      request.path.contains("/resolve/") && request.path.hasSuffix(".safetensors")
        ? Answer(status: 302, headers: ["Location": address + request.path]) : nil
    }
    _ = try await fetch(server, token: "secret")
    #expect(try isWhole())
    #expect(server.requests.allSatisfy { $0.headers["authorization"] == "Bearer secret" })
    #expect(store.requests.count == 3)
    #expect(store.requests.allSatisfy { $0.headers["authorization"] == nil })
  }

  @Test("lengths that cannot be", arguments: [-1, 1, 5000])
  func lengths(difference: Int) async throws {
    let server = try server { [model] request, _ in
      guard request.path == Self.large else { return nil }
      let content = model.files[FakeModel.large]!
      // The first two say what they send, the third sends more than it should without saying how much.
      return difference < 5000
        ? Answer(
          headers: ["Content-Length": "\(content.count + difference)"], body: content + (difference > 0 ? [0] : []), cut: true)
        : Answer(body: content + [UInt8](repeating: 0, count: difference))
    }
    let message = try await failure(server)
    #expect(
      message.contains("\(FakeModel.large) has 50000 bytes, but \(difference < 5000 ? "\(50_000 + difference)" : "more") came"))
    #expect(server.paths.count { $0 == Self.large } == 1)
    #expect(!FileManager.default.fileExists(atPath: "\(cache.snapshot)/\(FakeModel.large)"))
  }

  @Test("content that is not what the hub promises is removed")
  func wrongContent() async throws {
    let server = try server { [model] request, _ in
      request.path == Self.large ? Answer(body: model.files[FakeModel.large]!.reversed()) : nil
    }
    let message = try await failure(server)
    #expect(message.contains("\(FakeModel.large) came with another content than the hub promises"))
    let blobs = cache.files("\(cache.model)/blobs")
    #expect(!blobs.contains(model.hash(FakeModel.large)))
    let partial = "\(cache.model)/blobs/\(model.hash(FakeModel.large)).incomplete"
    #expect(try Data(contentsOf: URL(filePath: partial)).isEmpty)
    let small = try self.server { request, _ in
      request.path.hasSuffix("vae/config.json") ? Answer(body: Array("{\"d\": 5}".utf8)) : nil
    }
    #expect(try await failure(small).contains("vae/config.json came with another content"))
  }

  @Test("closed doors are told at once, with what opens them", arguments: [401, 403])
  func unauthorized(status: Int) async throws {
    let server = try server { _, _ in Answer(status: status) }
    #expect(
      try await failure(server).contains("org/tiny: there is no such model at \(server.address), or it is private or gated."))
    #expect(try await failure(server).contains("give a token in HF_TOKEN"))
    #expect(try await failure(server, token: "x").contains("The token in use does not open it"))
    #expect(server.requests.count == 3)
  }

  @Test(
    "a token that no header can carry is refused without telling it",
    arguments: ["hf_secret\u{1}", "hf_secret key", "hf_sécret"])
  func malformedToken(token: String) async throws {
    let server = try server()
    let message = try await failure(server, token: token)
    #expect(!message.contains(token) && !message.contains("secret"))
    #expect(message.hasPrefix("org/tiny: the token in HF_TOKEN, or in the file where Python keeps it, is none"))
    #expect(message.hasSuffix("copy it again from \(server.address)/settings/tokens"))
    #expect(server.requests.isEmpty)
  }

  @Test func notFound() async throws {
    let server = try server { _, _ in Answer(status: 404) }
    #expect(
      try await failure(server).contains("org/tiny: there is no such folder or file here, and no such model or revision at http"))
    #expect(server.requests.count == 1)
  }

  @Test("servers that are busy are asked again, but not for ever", arguments: [429, 500, 503])
  func busy(status: Int) async throws {
    let patient = try server { request, count in
      count < 3 && (request.path == FakeModel.listing || request.path == Self.large)
        ? Answer(status: status, headers: ["Retry-After": "0"]) : nil
    }
    _ = try await fetch(patient)
    #expect(try isWhole())
    let dead = try server { _, _ in Answer(status: status) }
    let message = try await #require(throws: HubError.self) {
      try await TemporaryCache().hub(dead).snapshot(of: FakeModel.id, .tokenizers)
    }
    #expect(message.description.contains("answered with the status \(status)"))
    #expect(dead.requests.count == 5)
  }

  @Test(
    "lists that are none, or that name files outside",
    arguments: ["{", "{\"sha\": \"a\"}", "../evil", "/etc/evil", "a//b", "a/../\u{301}b"])
  func listings(text: String) async throws {
    var model = model
    model.files = [text: [1]]
    let listing = text.hasPrefix("{") ? text : model.listing
    let server = try server { request, _ in
      request.path == FakeModel.listing ? Answer(body: Array(listing.utf8)) : nil
    }
    let message = try await failure(server)
    #expect(
      message.contains(text.hasPrefix("{") ? "list of files is not as expected" : "is no name of a file inside the repository"))
    #expect(cache.files(cache.path).isEmpty)
  }

  @Test(
    "sizes and hashes that none can have",
    arguments: [(#""size": 1"#, #""size": -5"#), (#""size": 1"#, #""size": 9223372036854775807"#)])
  func impossibleSizes(stated: String, changed: String) async throws {
    var model = model
    model.files = ["model_index.json": [1]]
    let listing = model.listing.replacing(stated, with: changed)
    try #require(listing != model.listing)
    let server = try server { request, _ in
      request.path == FakeModel.listing ? Answer(body: Array(listing.utf8)) : nil
    }
    #expect(try await failure(server).contains("model_index.json has a size of "))
    let hash = model.hash("model_index.json")
    let hidden = model.listing.replacing(hash, with: "../\u{301}\(hash)")
    let strange = try self.server { request, _ in
      request.path == FakeModel.listing ? Answer(body: Array(hidden.utf8)) : nil
    }
    #expect(try await failure(strange).contains("is no name of a file inside the repository"))
    #expect(cache.files(cache.path).isEmpty)
  }

  // MARK: no server

  @Test("offline, the error lists what to fetch and how")
  func offline() async throws {
    let server = try server()
    let error = try await #require(throws: HubError.self) {
      try await cache.hub(server, isOffline: true).snapshot(of: FakeModel.id, .pipeline(variant: nil))
    }
    #expect(
      error.description.hasPrefix(
        "org/tiny: no such folder or file here; HF_HUB_OFFLINE forbids to fetch it, and the cache (\(cache.path)) lacks\n"))
    for name in ["model_index.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json"] {
      #expect(error.description.contains("    \(name)\n"))
    }
    #expect(error.description.contains("hf download org/tiny --revision main model_index.json scheduler/scheduler_config.json"))
    #expect(server.requests.isEmpty)

    _ = try await fetch(server)
    try FileManager.default.removeItem(atPath: "\(cache.snapshot)/vae/config.json")
    let nearly = try await #require(throws: HubError.self) {
      try await cache.hub(server, isOffline: true).snapshot(of: FakeModel.id, .pipeline(variant: nil))
    }
    #expect(nearly.description.hasSuffix("hf download org/tiny --revision main vae/config.json"))
    // A port that nobody listens at.
    let nowhere = Hub(HubEnvironment(cache: cache.path, endpoint: "http://127.0.0.1:9"), backoff: .zero)
    let unreachable = try await #require(throws: HubError.self) {
      try await nowhere.snapshot(of: FakeModel.id, .pipeline(variant: nil))
    }
    #expect(unreachable.description.contains("could not be reached"))
    #expect(unreachable.description.contains("hf download org/tiny --revision main vae/config.json"))
  }
}
