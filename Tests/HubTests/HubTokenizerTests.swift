import Foundation
import Hub
import TestFiles
import TestHub
import Testing

/// Files that a tokenizer can do without, but that change what it does.
@Suite(.onOwnThreads) struct HubTokenizerTests {
  private let cache: TemporaryCache
  private let model = FakeModel()
  private static let optional = "tokenizer/tokenizer_config.json"

  init() throws { cache = try TemporaryCache() }

  private func server(_ model: FakeModel? = nil) throws -> ScriptedServer {
    let model = model ?? self.model
    return try ScriptedServer { request, _ in model.answer(request) }
  }

  private func fetch(
    _ server: ScriptedServer, _ selection: HubSelection = .pipeline(variant: nil), isOffline: Bool = false
  ) async throws -> String {
    try await cache.hub(server, isOffline: isOffline).snapshot(of: FakeModel.id, selection)
  }

  private func offline(_ selection: HubSelection = .pipeline(variant: nil)) async throws -> String {
    let hub = Hub(HubEnvironment(cache: cache.path, endpoint: "http://127.0.0.1:9", isOffline: true))
    return try await #require(throws: HubError.self) { try await hub.snapshot(of: FakeModel.id, selection) }.description
  }

  private func isThere(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  /// What is there when a tool was asked for the files alone that no model can do without.
  private func fillWithoutOptional() async throws {
    _ = try await fetch(server())
    for path in ["\(cache.snapshot)/\(Self.optional)", "\(cache.model)/blobs/\(model.hash(Self.optional))"] {
      try FileManager.default.removeItem(atPath: path)
    }
    try? FileManager.default.removeItem(atPath: "\(cache.model)/.no_exist")
  }

  /// The list of a commit's files that huggingface_hub leaves.
  private func writeTree(_ names: [String]) throws {
    let files = Dictionary(uniqueKeysWithValues: names.map { ($0, ["size": 1]) })
    let tree = try JSONSerialization.data(withJSONObject: ["format_version": 1, "files": files])
    try FileManager.default.createDirectory(atPath: "\(cache.model)/trees", withIntermediateDirectories: true)
    try tree.write(to: URL(filePath: "\(cache.model)/trees/\(FakeModel.commit).json"))
  }

  @Test(
    "are fetched, or found to be absent, before a snapshot counts as whole",
    arguments: [HubSelection.pipeline(variant: nil), .tokenizers])
  func healing(selection: HubSelection) async throws {
    try await fillWithoutOptional()
    let server = try server()
    for _ in 0..<2 { #expect(try await fetch(server, selection) == cache.snapshot) }
    #expect(try cache.bytes(Self.optional) == model.files[Self.optional])
    // Of the commit that is there: the branch may have gone on, and with it the model.
    #expect(server.paths == [FakeModel.listingOfCommit, FakeModel.path(of: Self.optional)])
    let absent = cache.files("\(cache.model)/.no_exist/\(FakeModel.commit)").filter { $0.hasPrefix("tokenizer/") }
    #expect(absent == ["tokenizer/added_tokens.json", "tokenizer/special_tokens_map.json"])
  }

  @Test("a commit that the hub has no more is asked for under the name of its branch")
  func forgottenCommit() async throws {
    try await fillWithoutOptional()
    let server = try ScriptedServer { [model] request, _ in
      request.path == FakeModel.listingOfCommit ? Answer(status: 404) : model.answer(request)
    }
    #expect(try await fetch(server) == cache.snapshot)
    #expect(server.paths == [FakeModel.listingOfCommit, FakeModel.listing, FakeModel.path(of: Self.optional)])
  }

  @Test("added tokens of which nothing is known are not asked for beside the files that most repositories have")
  func addedTokens() async throws {
    _ = try await fetch(server())
    try Data("{}".utf8).write(to: URL(filePath: "\(cache.snapshot)/tokenizer/special_tokens_map.json"))
    try FileManager.default.removeItem(atPath: "\(cache.model)/.no_exist/\(FakeModel.commit)/tokenizer")
    let server = try server()
    #expect(try await fetch(server) == cache.snapshot)
    #expect(server.paths.isEmpty, "\(server.paths)")
  }

  @Test("of which nothing is known count as absent where nobody can be asked, as in transformers")
  func leniency() async throws {
    try await fillWithoutOptional()
    let nowhere = Hub(HubEnvironment(cache: cache.path, endpoint: "http://127.0.0.1:9"), backoff: .zero)
    #expect(try await fetch(server(), isOffline: true) == cache.snapshot)
    #expect(try await nowhere.snapshot(of: FakeModel.id, .pipeline(variant: nil)) == cache.snapshot)
    #expect(await nowhere.cached(FakeModel.id, .tokenizers) == cache.snapshot)
    #expect(!isThere("\(cache.snapshot)/\(Self.optional)"))
  }

  @Test("that Python's list of the commit names are missing, and those that it does not name are absent")
  func listing() async throws {
    try await fillWithoutOptional()
    try writeTree(Array(model.files.keys))
    #expect(try await offline().hasSuffix("hf download org/tiny --revision main \(Self.optional)"))
    try writeTree(model.files.keys.filter { $0 != Self.optional })
    let server = try server()
    #expect(try await fetch(server) == cache.snapshot)
    #expect(server.requests.isEmpty)
  }

  @Test("the second tokenizer is one of them where tokenizers alone are asked for")
  func secondTokenizer() async throws {
    _ = try await fetch(server(), .tokenizers)
    try? FileManager.default.removeItem(atPath: "\(cache.model)/.no_exist")
    var model = model
    for file in ["vocab.json", "merges.txt"] { model.files["tokenizer_2/\(file)"] = Array(file.utf8) }
    _ = try await fetch(server(model), .tokenizers)
    #expect(cache.files("\(cache.snapshot)/tokenizer_2") == ["merges.txt", "vocab.json"])
  }

  // MARK: advice

  /// A model with two tokenizers and a U-Net in two files.
  private var large: FakeModel {
    var model = model
    let index = String(decoding: model.files["model_index.json"]!, as: UTF8.self)
    let others = ##""text_encoder_2": ["transformers", "CLIPTextModel"], "tokenizer_2": ["transformers", "CLIPTokenizer"], "##
    model.files["model_index.json"] = Array(index.replacing(#""vae""#, with: others + #""vae""#).utf8)
    for file in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
      model.files["tokenizer_2/\(file)"] = Array(file.utf8)
    }
    for file in ["config.json", "model.safetensors"] { model.files["text_encoder_2/\(file)"] = Array(file.utf8) }
    model.files[FakeModel.large] = nil
    let pieces = (1...2).map { "diffusion_pytorch_model-0000\($0)-of-00002.safetensors" }
    model.files["unet/diffusion_pytorch_model.safetensors.index.json"] = Array(
      #"{"weight_map": {"a": "\#(pieces[0])", "b": "\#(pieces[1])"}}"#.utf8)
    for piece in pieces { model.files["unet/\(piece)"] = Array(piece.utf8) }
    return model
  }

  /// Does what a message advises, as `hf download` does it: patterns and names that nothing matches are passed over.
  private func follow(_ message: String, _ model: FakeModel) throws {
    let line = try #require(message.split(separator: "\n").last)
    let command = "    hf download org/tiny --revision main "
    try #require(line.hasPrefix(command), "\(message)")
    let patterns = line.dropFirst(command.count).split(separator: " ").map { $0.filter { $0 != "'" } }
    for (name, content) in model.files where patterns.contains(where: { fnmatch($0, name, 0) == 0 }) {
      let path = "\(cache.snapshot)/\(name)"
      try FileManager.default.createDirectory(
        atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
      try Data(content).write(to: URL(filePath: path))
    }
    try FileManager.default.createDirectory(atPath: "\(cache.model)/refs", withIntermediateDirectories: true)
    try FakeModel.commit.write(toFile: "\(cache.model)/refs/main", atomically: true, encoding: .utf8)
  }

  @Test("the advice of an empty cache, followed once, gives all that a larger model has, and no weights beside")
  func advice() async throws {
    let large = large
    try follow(try await offline(), large)
    let server = try server(large)
    #expect(try await fetch(server, isOffline: true) == cache.snapshot)
    let other = try TemporaryCache()
    _ = try await other.hub(server).snapshot(of: FakeModel.id, .pipeline(variant: nil))
    #expect(server.paths.contains(FakeModel.path(of: "tokenizer_2/special_tokens_map.json")))
    #expect(cache.files(cache.snapshot) == other.files(other.snapshot))
  }

  @Test("the advice for tokenizers of which nothing is here", arguments: ["", "tokenizer/"])
  func adviceForTokenizers(folder: String) async throws {
    var model = model
    model.files = [:]
    for file in ["tokenizer.json", "tokenizer_config.json"] { model.files[folder + file] = Array(file.utf8) }
    try follow(try await offline(.tokenizers), model)
    #expect(cache.files(cache.snapshot) == model.files.keys.sorted())
    #expect(try await fetch(server(model), .tokenizers, isOffline: true) == cache.snapshot)
  }

  @Test("advice that follows Python's list names weights that the repository has")
  func adviceWithListing() async throws {
    var half = model
    for name in FakeModel.needed where name.hasSuffix(".safetensors") { half.files[name] = nil }
    try follow(try await offline(), half)
    try writeTree(Array(half.files.keys))
    let message = try await offline()
    for stem in ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"] {
      #expect(message.contains("    \(stem).fp16.safetensors\n"))
    }
    try follow(message, half)
    #expect(try await fetch(server(half), isOffline: true) == cache.snapshot)
  }
}
