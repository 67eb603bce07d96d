internal import Foundation
public import LoRA
public import OrderedCollections
internal import SafeTensors
public import Torch

/// One vector for each LoRA and layer: m_c and m_s of the paper.
///
/// With the LoRAs they belong to, they say everything about a zipped result, so strengths can be set again later and the
/// result be looked into.
public struct MergerCoefficients {
  /// The vectors of one layer [in], by the LoRA's number; a LoRA that does not change the layer has none.
  public typealias Vectors = OrderedDictionary<Int, Tensor>

  /// By full module path.
  public var vectors: OrderedDictionary<String, Vectors>

  public init(_ vectors: OrderedDictionary<String, Vectors>) { self.vectors = vectors }

  /// All vectors, layer by layer.
  public var tensors: [Tensor] { vectors.values.flatMap(\.values) }

  /// Copies that collect gradients.
  func trainable() -> MergerCoefficients {
    MergerCoefficients(vectors.mapValues { $0.mapValues { $0.detached().cloned().requiringGrad() } })
  }

  /// All coefficients of LoRA `index` in one row; nil where it is zipped nowhere.
  func joined(_ index: Int) -> Tensor? {
    let own = vectors.values.compactMap { $0[index]?.detached() }
    return own.isEmpty ? nil : Tensor.concatenated(own)
  }

  /// A · diag(m): every input column (or input channel) of a down factor times its coefficient.
  static func weighing(_ down: Tensor, by vector: Tensor) -> Tensor {
    down * vector.reshaped([1, vector.count] + down.shape.dropFirst(2).map { _ in 1 })
  }

  /// The exact merged LoRA: up = [B_c | B_s], down = [s_c A_c diag(m_c); s_s A_s diag(m_s)], alpha = rank, in 32 bits.
  ///
  /// Layers without coefficients that several LoRAs change are added up as they are, those of one LoRA taken over in their own
  /// type. A LoRA whose coefficients are all zero at a layer is left out there, so (1, 0) gives back the first LoRA itself, and
  /// one whose weight or strength is 0 everywhere.
  /// - Parameters:
  ///   - inputs: the LoRAs, in the order of the vectors.
  ///   - strengths: of each LoRA in the merged one; all 1 as optimised.
  public func zipped(_ inputs: [MergeInput], strengths: [Double]? = nil) -> Adapter {
    zipped(inputs, strengths: strengths) { _, _, _ in }
  }

  /// - Parameter progress: hears of each layer before it is put together, and how many of how many are done; what it throws
  ///   ends the work.
  func zipped(
    _ inputs: [MergeInput], strengths: [Double]? = nil, progress: (_ path: String, _ done: Int, _ count: Int) throws -> Void
  ) rethrows -> Adapter {
    let strengths = strengths ?? inputs.map { _ in 1 }
    precondition(strengths.count == inputs.count, "\(strengths.count) strengths for \(inputs.count) LoRAs")
    let adapters = zip(inputs, strengths).map { input, strength in
      input.weight * strength == 0 ? Adapter(factors: [:]) : input.weighted.scaled(by: strength)
    }
    let paths = adapters.reduce(into: OrderedSet<String>()) { $0.formUnion($1.factors.keys) }
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    var ranks: OrderedDictionary<String, [Int]> = [:]
    try withoutGrad {
      for (done, path) in paths.enumerated() {
        try progress(path, done, paths.count)
        let parts = adapters.indices.map { index in
          adapters[index].factors[path].map { Self.weighed($0, by: vectors[path]?[index]) }
        }
        let living = parts.indices.filter { index in
          parts[index] != nil && (vectors[path]?[index].map { ($0 .!= 0).anyHolds() } ?? true)
        }
        let kept = living.isEmpty ? Array(parts.indices) : living
        factors[path] = .sum(kept.compactMap { parts[$0] })
        ranks[path] = parts.indices.map { kept.contains($0) ? parts[$0]?.rank ?? 0 : 0 }
      }
    }
    let shares = zip(inputs, strengths).map { MergeShares.Input(name: $0.name, weight: $0.weight * $1) }
    return Adapter(
      factors: factors,
      metadata: inputs.originMetadata.merging([MergeShares.metadataKey: MergeShares(shares, ranks).text]) { $1 })
  }

  /// ΔW · diag(m); ΔW itself without m.
  private static func weighed(_ factors: LowRankFactors, by vector: Tensor?) -> LowRankFactors {
    guard let vector else { return factors }
    let down = factors.down.to(dtype: .float32)
    let weights = vector.detached().to(dtype: .float32, device: down.device)
    return LowRankFactors(
      down: weighing(down, by: weights), up: factors.up.to(dtype: .float32), alpha: factors.alpha)
  }
}

extension MergerCoefficients {
  private static let format = "ziplora-coefficients"

  /// Writes the vectors to a safetensors file, as `<path>.m0`, `<path>.m1`.
  ///
  /// - Parameter names: of the LoRAs, kept in the metadata.
  public func write(to path: String, names: [String], overwrite: Bool = false) throws {
    let list = try JSONText.compact(names)
    try saveSafeTensors(
      flattened(), metadata: ["format": Self.format, "adapters": list], to: path, overwrite: overwrite)
  }

  /// Reads what `write` has written.
  ///
  /// - Throws: `MergeError.notCoefficients` for any other file.
  public static func read(_ path: String) throws -> (coefficients: MergerCoefficients, names: [String]) {
    let collection = try SafeTensorsCollection(path: path)
    guard collection.file.metadata["format"] == format, let list = collection.file.metadata["adapters"],
      let names = try? JSONDecoder().decode([String].self, from: Data(list.utf8)),
      let coefficients = try Self(collection, adapters: names.count)
    else { throw MergeError.notCoefficients(path) }
    return (coefficients, names)
  }

  /// The vectors under names that a file can hold.
  func flattened(prefix: String = "") -> OrderedDictionary<String, Tensor> {
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for (path, vectors) in vectors {
      for (index, vector) in vectors { tensors["\(prefix)\(path).m\(index)"] = vector.detached() }
    }
    return tensors
  }

  /// The inverse of `flattened`; nil where there are none, or those of a LoRA that there is not.
  init?(_ collection: SafeTensorsCollection, prefix: String = "", adapters: Int) throws {
    var vectors: OrderedDictionary<String, Vectors> = [:]
    for key in collection.keys where key.hasPrefix(prefix) {
      guard let match = key.dropFirst(prefix.count).wholeMatch(of: /(.+)\.m([0-9]+)/), let index = Int(match.2) else { continue }
      guard index < adapters else { return nil }
      vectors[String(match.1), default: [:]][index] = try collection.tensor(key).cloned()
    }
    guard !vectors.isEmpty else { return nil }
    // A file lists its keys by name, where m10 comes before m2.
    self.init(vectors.mapValues { $0.sorted { $0.key < $1.key }.reduce(into: [:]) { $0[$1.key] = $1.value } })
  }
}
