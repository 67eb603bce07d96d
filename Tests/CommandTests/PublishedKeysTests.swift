import Crypto
import Foundation
import LoRA
import OrderedCollections
import SafeTensors
import TestFiles
import Testing
import Torch
import Workflows

/// Names and shapes in files of full size against those that LyCORIS, diffusers and peft give to the same layers
/// (Scripts/goldens/consumers.py).
@Suite struct PublishedKeysTests {
  struct Published: Decodable {
    let modules: Int
    let sha256: String
  }

  /// By family, dialect and part of the model.
  static let published = Result {
    try JSONDecoder().decode([String: [String: [String: Published]]].self, from: bytes("\(goldens)/consumers/keys.json"))
  }

  /// What an adapter of a part changes.
  static let parts: [(name: String, component: Component, has: @Sendable (String) -> Bool)] = [
    ("transformers", .unet, { [.attention, .feedForward, .projection].contains(ModuleKind(of: $0)) }),
    ("blocks", .unet, { path in !single.contains { path.hasPrefix("unet.\($0)") } }),
    ("unet", .unet, { _ in true }),
    ("text_encoder", .textEncoder, { ModuleKind(of: $0) == .textEncoder }),
    ("text_encoder_2", .textEncoder2, { ModuleKind(of: $0) == .textEncoder }),
  ]

  /// Outside of blocks.
  static let single = ["conv_in", "conv_out", "time_embedding.", "add_embedding."]

  @Test(
    "files of full size have the published names and shapes", arguments: [KnownBase.stableDiffusionXL, .stableDiffusion1],
    ["kohya", "diffusers"])
  func namesAndShapes(base: KnownBase, dialect: String) throws {
    let published = try #require(try Self.published.get()[base.description]?[dialect])
    let names = try base.moduleNames
    #expect(published.count == (names.has(.textEncoder2) ? 5 : 4))
    for part in Self.parts {
      guard let expected = published[part.name] else { continue }
      let paths = names.paths.filter { Component(of: $0) == part.component && part.has($0) }
      #expect(paths.count == expected.modules, "\(part.name)")
      let lines = try keys(of: Array(paths), in: names, dialect: #require(Dialects.named(dialect)))
      let digest = SHA256.hash(data: Data(lines.joined().utf8)).map { String(format: "%02x", $0) }.joined()
      #expect(digest == expected.sha256, "\(part.name): \(lines.prefix(3))")
    }
  }

  /// The sorted lines of key and shape of a file of these layers at rank 1.
  private func keys(of paths: [String], in names: ModuleNames, dialect: any Dialect) throws -> [String] {
    let factors = paths.map { path in
      let shape = names.shapes[path]!
      return LowRankFactors(
        down: .zeros([1] + shape.dropFirst(), dtype: .float16),
        up: .zeros([shape[0], 1] + shape.dropFirst(2).map { _ in 1 }, dtype: .float16), alpha: 1)
    }
    let folder = try TemporaryFolder()
    try AdapterFile.write(
      Adapter(factors: OrderedDictionary(uniqueKeysWithValues: zip(paths, factors))), to: folder("a.safetensors"), as: dialect,
      for: names)
    return try SafeTensorsFile(path: folder("a.safetensors")).entries.map { "\($0) \($1.shape)\n" }.sorted {
      $0.utf8.lexicographicallyPrecedes($1.utf8)
    }
  }
}
