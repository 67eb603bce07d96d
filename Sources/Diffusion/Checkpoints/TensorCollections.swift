internal import Foundation
internal import OrderedCollections
package import Torch

/// The tensors of another collection under the names that the models ask for.
package final class RenamedTensors: TensorCollection {
  private let base: any TensorCollection
  /// New names to those of `base`.
  private let names: OrderedDictionary<String, String>

  package init(_ base: any TensorCollection, _ rename: (String) -> String) {
    self.base = base
    var names: OrderedDictionary<String, String> = [:]
    for key in base.keys {
      let name = rename(key)
      // A name that is taken stays as it was, to be reported as not used.
      names[names[name] == nil ? name : key] = key
    }
    self.names = names
  }

  package var name: String { base.name }
  package var keys: [String] { Array(names.keys) }
  package func shape(of key: String) -> [Int]? { names[key].flatMap(base.shape) }
  package func tensor(_ key: String) throws -> Tensor { try base.tensor(names[key] ?? key) }
  package func nameInFile(_ key: String) -> String { names[key] ?? key }
  package func release(_ key: String) { base.release(names[key] ?? key) }

  /// The keys of a CLIP text encoder with the prefix `text_model.`, which transformers 5 leaves away when it saves a
  /// CLIPTextModel.
  static func ofTextModel(_ base: any TensorCollection) -> any TensorCollection {
    if base.keys.contains(where: { $0.hasPrefix("text_model.") }) { return base }
    return RenamedTensors(base) { $0.hasPrefix("text_projection.") ? $0 : "text_model.\($0)" }
  }

  /// The keys of an autoencoder with the names of attention layers since diffusers 0.15.
  static func ofAutoencoder(_ base: any TensorCollection) -> any TensorCollection {
    let renamed = ["query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"]
    return RenamedTensors(base) { key in
      // encoder.mid_block.attentions.0.query.weight
      var parts = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 6, parts[2] == "attentions", let name = renamed[parts[4]] else { return key }
      parts[4] = name
      return parts.joined(separator: ".")
    }
  }
}

/// A model in several safetensors files and an index that says which tensor lies in which.
final class ShardedTensors: TensorCollection {
  private struct Index: Decodable {
    let weight_map: [String: String]
  }

  let name: String
  let keys: [String]
  /// Names of the files, in order.
  let files: [String]
  private let shards: [String: SafeTensorsCollection]
  private let shardOfKey: [String: String]

  /// - Parameters:
  ///   - folder: where the files lie.
  ///   - index: name of the index.
  /// - Throws: `CheckpointError` where the index and the files are not of one model, `SafeTensorsError`.
  init(folder: String, index: String) throws {
    name = "\(folder)/\(index)"
    do {
      shardOfKey = try JSONDecoder().decode(Index.self, from: Data(contentsOf: URL(fileURLWithPath: name))).weight_map
    } catch {
      throw CheckpointError(path: name, reason: .malformedIndex(describe(error)))
    }
    keys = shardOfKey.keys.sorted()
    var shards: [String: SafeTensorsCollection] = [:]
    files = Set(shardOfKey.values).sorted()
    for file in files {
      guard !file.utf8.contains(UInt8(ascii: "/")) else {
        throw CheckpointError(path: name, reason: .malformedIndex("\(file) is not a file of this folder"))
      }
      guard ModelFolder.isFile("\(folder)/\(file)") else {
        throw CheckpointError(path: name, reason: .missingShard(file))
      }
      shards[file] = try SafeTensorsCollection(path: "\(folder)/\(file)")
    }
    self.shards = shards
    // Each tensor of each file, and no other: files of two downloads do not pass for one model.
    let listed = Set(shardOfKey.map { "\($0.value): \($0.key)" })
    let found = Set(files.flatMap { file in shards[file]!.keys.map { "\(file): \($0)" } })
    guard listed == found else {
      throw CheckpointError(
        path: name,
        reason: .otherShards(missing: listed.subtracting(found).sorted(), unlisted: found.subtracting(listed).sorted()))
    }
  }

  func shape(of key: String) -> [Int]? { shard(of: key)?.shape(of: key) }

  func tensor(_ key: String) throws -> Tensor {
    guard let shard = shard(of: key) else {
      throw CheckpointError(path: name, reason: .malformedIndex("\(key) is not in it"))
    }
    return try shard.tensor(key)
  }

  func release(_ key: String) { shard(of: key)?.release(key) }

  private func shard(of key: String) -> SafeTensorsCollection? { shardOfKey[key].flatMap { shards[$0] } }
}
