internal import Crypto
internal import Foundation
public import Hub
internal import TestFiles

/// A model as the hub would have it, and the answers of the hub about it.
public struct FakeModel: Sendable {
  public static let id = HubID("org/tiny")!
  public static let commit = String(repeating: "c0ffee42", count: 5)
  public static let listing = "/api/models/org/tiny/revision/main?blobs=true"
  public static let listingOfCommit = "/api/models/org/tiny/revision/\(commit)?blobs=true"

  public var files: [String: [UInt8]]

  /// A pipeline with what is needed of it and what is not.
  public init() {
    func text(_ text: String) -> [UInt8] { Array(text.utf8) }
    files = [
      "model_index.json": text(
        """
        {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": true,
         "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "image_encoder": [null, null],
         "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
         "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
         "vae": ["diffusers", "AutoencoderKL"]}
        """),
      "README.md": text("A model"), "tiny.safetensors": text("all in one"), "safety_checker/config.json": text("{}"),
      "scheduler/scheduler_config.json": text("{\"a\": 1}"), "tokenizer/vocab.json": text("{}"),
      "tokenizer/merges.txt": text("#version"), "tokenizer/tokenizer_config.json": text("{\"b\": 2}"),
      "unet/config.json": text("{\"c\": 3}"), "vae/config.json": text("{\"d\": 4}"),
      "text_encoder/config.json": text("{\"e\": 5}"), "text_encoder/model.safetensors": Self.bytes(3000, 1),
      "text_encoder/pytorch_model.bin": Self.bytes(3000, 2), "unet/diffusion_pytorch_model.safetensors": Self.bytes(50_000, 3),
      "unet/diffusion_pytorch_model.fp16.safetensors": Self.bytes(20_000, 4),
      "vae/diffusion_pytorch_model.safetensors": Self.bytes(7000, 5),
      "vae/diffusion_pytorch_model.fp16.safetensors": Self.bytes(4000, 6),
      "text_encoder/model.fp16.safetensors": Self.bytes(2000, 7),
    ]
  }

  /// What a pipeline of it needs.
  public static let needed = [
    "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
    "tokenizer/merges.txt", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
  ]
  public static let large = "unet/diffusion_pytorch_model.safetensors"

  public static func bytes(_ count: Int, _ seed: UInt8) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 >> 8) &+ seed }
  }

  public static func path(of file: String) -> String { "/org/tiny/resolve/\(commit)/\(file)" }

  /// The name of a file's blob: large files are stored apart, under their SHA-256.
  public func hash(_ name: String) -> String {
    let content = files[name]!
    func hexadecimal(_ digest: some Sequence<UInt8>) -> String { digest.map { String(format: "%02x", $0) }.joined() }
    if isLarge(name) { return hexadecimal(SHA256.hash(data: content)) }
    return hexadecimal(Insecure.SHA1.hash(data: Array("blob \(content.count)\0".utf8) + content))
  }

  private func isLarge(_ name: String) -> Bool { name.hasSuffix(".safetensors") || name.hasSuffix(".bin") }

  /// What the hub answers when all is well.
  public func answer(_ request: Request) -> Answer {
    if [Self.listing, Self.listingOfCommit].contains(request.path) { return Answer(body: Array(listing.utf8)) }
    guard let name = files.keys.first(where: { Self.path(of: $0) == request.path }), let content = files[name] else {
      return Answer(status: 404)
    }
    guard let range = request.headers["range"], let start = Int(range.dropFirst(6).dropLast()) else {
      return Answer(headers: ["Content-Length": "\(content.count)"], body: content)
    }
    return Answer(
      status: 206, headers: ["Content-Range": "bytes \(start)-\(content.count - 1)/\(content.count)"],
      body: Array(content[start...]))
  }

  public var listing: String {
    let siblings = files.keys.sorted().map { name in
      let size = files[name]!.count
      let large = isLarge(name) ? #", "lfs": {"sha256": "\#(hash(name))", "size": \#(size), "pointerSize": 130}"# : ""
      // The git blob of a large file is a pointer to it.
      let blob = isLarge(name) ? String(repeating: "9", count: 40) : hash(name)
      return #"{"rfilename": "\#(name)", "size": \#(size), "blobId": "\#(blob)"\#(large)}"#
    }
    return #"{"id": "org/tiny", "sha": "\#(Self.commit)", "siblings": [\#(siblings.joined(separator: ", "))]}"#
  }
}

/// A cache that goes with the test.
public final class TemporaryCache: Sendable {
  private let folder: TemporaryFolder

  public init() throws { folder = try TemporaryFolder() }

  public var path: String { folder("hub") }
  public var model: String { "\(path)/models--org--tiny" }
  public var snapshot: String { "\(model)/snapshots/\(FakeModel.commit)" }

  /// Files below a folder, sorted.
  public func files(_ folder: String) -> [String] {
    let found = FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []
    return found.filter { name in
      var isFolder: ObjCBool = false
      return !FileManager.default.fileExists(atPath: "\(folder)/\(name)", isDirectory: &isFolder) || !isFolder.boolValue
    }.sorted()
  }

  public func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: "\(snapshot)/\(name)"))) }

  public func hub(_ server: ScriptedServer, token: String? = nil, isOffline: Bool = false) -> Hub {
    Hub(
      HubEnvironment(cache: path, endpoint: server.address, token: token, isOffline: isOffline),
      backoff: .milliseconds(1))
  }
}
