internal import Foundation
public import LoRA
public import OrderedCollections
internal import SafeTensors
internal import Torch

/// Which ranks of a merged LoRA came from which of the LoRAs it was made of, and how strongly each acts: what it takes to
/// weigh them anew (arXiv 2311.13600, the strength of the style after zipping) with the merged file alone.
///
/// A layer of a zip is [B_c | B_s] · [s_c A_c diag(m_c); s_s A_s diag(m_s)], so the first r_c rows of down are the subject's
/// and the others the style's, each with its weight in it. Most layers are divided alike, so only the others are listed.
public struct MergeShares: Codable, Sendable, Equatable {
  public struct Input: Codable, Sendable, Equatable {
    public let name: String
    /// As it now acts.
    public var weight: Double
  }

  /// In the order of their ranks.
  public var inputs: [Input]
  /// Ranks of each in most layers.
  public let ranks: [Int]
  /// Ranks of each in other layers, by the layer's name.
  public let exceptions: [String: [Int]]

  /// Where it stands in a file's metadata.
  public static let metadataKey = "ziplora.shares"

  /// - Parameter layers: the ranks of each input, by the layer's name.
  init(_ inputs: [Input], _ layers: OrderedDictionary<String, [Int]>) {
    self.inputs = inputs
    let ranks = mostCommon(Array(layers.values)) ?? []
    self.ranks = ranks
    exceptions = layers.reduce(into: [:]) { if $1.value != ranks { $0[$1.key] = $1.value } }
  }

  /// - Throws: `MergeError.noShares` for metadata that does not say it.
  public init(metadata: OrderedDictionary<String, String>) throws(MergeError) {
    guard let text = metadata[Self.metadataKey],
      let shares = try? JSONDecoder().decode(Self.self, from: Data(text.utf8)), shares.isSound
    else { throw .noShares }
    self = shares
  }

  private var isSound: Bool {
    !inputs.isEmpty && inputs.allSatisfy { $0.weight.isFinite }
      && ([ranks] + exceptions.values).allSatisfy { $0.count == inputs.count && $0.allSatisfy((0...Int(Int32.max)).contains) }
  }

  /// As it stands in metadata.
  public var text: String {
    // Finite numbers and text always encode.
    (try? JSONText.compact(self)) ?? ""
  }

  /// The same shares with layers under other names.
  public func renamed(_ name: (String) -> String?) -> MergeShares {
    MergeShares(
      inputs: inputs, ranks: ranks,
      exceptions: exceptions.reduce(into: [:]) { $0[name($1.key) ?? $1.key] = $1.value })
  }

  /// The same shares where only these layers are left.
  fileprivate func keeping(_ layers: some Collection<String>) -> MergeShares {
    MergeShares(inputs: inputs, ranks: ranks, exceptions: exceptions.filter { layers.contains($0.key) })
  }

  private init(inputs: [Input], ranks: [Int], exceptions: [String: [Int]]) {
    (self.inputs, self.ranks, self.exceptions) = (inputs, ranks, exceptions)
  }
}

extension Adapter {
  /// The adapter with the LoRAs it was merged of acting as strongly as `weights` says.
  ///
  /// A LoRA of weight 0 is taken out, with the layers that it alone changes; that cannot be undone.
  /// - Parameter weights: of each LoRA, in the order of the shares; nil where it stays.
  /// - Throws: `MergeError.noShares`, `.otherShares` for a file whose layers or ranks have been changed since,
  ///   `.wrongWeights`, `.alreadyGone` for a LoRA that was taken out, `.nothingLeft`; `TorchError` where memory runs out.
  public func reweighted(_ weights: [Double?]) throws -> Adapter {
    let shares = try MergeShares(metadata: metadata)
    guard weights.count == shares.inputs.count else {
      throw MergeError.wrongWeights(weights.count, inputs: shares.inputs.map(\.name))
    }
    var reweighted = shares.inputs
    var ratios: [Double] = []
    for (index, weight) in weights.enumerated() {
      let input = shares.inputs[index]
      reweighted[index].weight = weight ?? input.weight
      guard input.weight != 0 || reweighted[index].weight == 0 else { throw MergeError.alreadyGone(input.name) }
      ratios.append(input.weight == 0 ? 0 : reweighted[index].weight / input.weight)
    }
    for name in shares.exceptions.keys.sorted() where factors[name] == nil {
      throw MergeError.otherShares(name, found: nil, [:])
    }
    var layers: OrderedDictionary<String, LowRankFactors> = [:]
    var ranks: OrderedDictionary<String, [Int]> = [:]
    for (name, factors) in factors {
      let share = shares.exceptions[name] ?? shares.ranks
      guard share.reduce(0, +) == factors.rank else {
        let expected = OrderedDictionary(zip(shares.inputs.map(\.name), share)) { $0 + $1 }
        throw MergeError.otherShares(name, found: factors.rank, expected)
      }
      layers[name] = try withTorchErrors { factors.reweighted(share, by: ratios) }
      ranks[name] = layers[name].map { _ in zip(share, ratios).map { $1 == 0 ? 0 : $0 } }
    }
    guard !layers.isEmpty else {
      throw MergeError.nothingLeft(method: "reweight", expected: "LoRAs whose weight is not 0")
    }
    var metadata = metadata
    metadata[MergeShares.metadataKey] = MergeShares(reweighted, ranks).text
    return Adapter(factors: layers, metadata: metadata)
  }
}

extension Adapter {
  /// The adapter with some layers acting `weights` times as strongly as they do; those of weight 0 are taken out for good.
  ///
  /// - Parameter weights: by the layer's path.
  /// - Throws: `MergeError.nothingLeft`.
  public func reweighted(layers weights: [String: Double]) throws(MergeError) -> Adapter {
    var reweighted = self
    reweighted.factors = factors.reduce(into: [:]) { kept, layer in
      let weight = weights[layer.key] ?? 1
      if weight != 0 { kept[layer.key] = weight == 1 ? layer.value : layer.value.scaled(by: weight) }
    }
    guard !reweighted.factors.isEmpty else {
      throw .nothingLeft(method: "reweight", expected: "layers whose weight is not 0")
    }
    if let shares = try? MergeShares(metadata: metadata) {
      reweighted.metadata[MergeShares.metadataKey] = shares.keeping(reweighted.factors.keys).text
    }
    return reweighted
  }
}

extension LowRankFactors {
  /// Rows of down times the ratio of the LoRA that they are of; without those whose ratio is 0, and nil if none is left.
  fileprivate func reweighted(_ share: [Int], by ratios: [Double]) -> LowRankFactors? {
    let (downs, ups) = (down.split(share, along: 0), up.split(share, along: 1))
    let kept = share.indices.filter { share[$0] > 0 && ratios[$0] != 0 }
    guard !kept.isEmpty else { return nil }
    return .sum(
      kept.map { LowRankFactors(down: downs[$0], up: ups[$0], alpha: scale * Double(share[$0]) * ratios[$0]) })
  }
}
