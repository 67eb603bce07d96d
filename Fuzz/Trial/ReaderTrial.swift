public import Foundation
public import LoRA
internal import Merging
internal import OrderedCollections
internal import SafeTensors
internal import Torch

/// Puts a file through everything that reads LoRA files, as the commands do.
///
/// Whatever the bytes are, the answer must be an adapter or one of the readers' own errors. Any other error and any result
/// that contradicts the base model traps, so that a fuzzer notices; libtorch's errors trap by themselves.
public struct ReaderTrial {
  /// How far a file came.
  public enum Reach: Comparable, CaseIterable {
    /// It is no safetensors file.
    case nothing
    /// Its tensors can be read, but it is no sound LoRA file.
    case tensors
    /// It is a LoRA file, but none for the base model.
    case layers
    case adapter
  }

  /// Small, with every kind of layer and one of each component.
  public let base: ModuleNames
  private let projections: Projections
  private let folder: URL
  /// Where the bytes lie meanwhile.
  private let file: URL
  /// peft's configuration, which stands beside the tensors and here comes from the metadata entry of its name.
  private let companion: URL

  /// - Parameter folder: for files of the trial alone; best one in memory.
  public init(in folder: URL) throws {
    self.folder = folder
    file = folder.appending(path: "trial.safetensors")
    companion = folder.appending(path: Self.companionName)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let store = WeightStore(.random(Generator(seed: 1)))
    _ = Conv2d(store.root / "unet.conv_in", 3, 4, kernel: 3)
    _ = Linear(store.root / "unet.mid_block.attentions.0.proj_in", 4, 6)
    _ = Linear(store.root / "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 8, 6)
    _ = Conv2d(store.root / "unet.mid_block.attentions.0.proj_out", 6, 4, kernel: 1)
    _ = Linear(store.root / "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 4, 4)
    _ = Linear(store.root / "text_encoder_2.text_model.encoder.layers.0.mlp.fc1", 4, 8)
    projections = store.projections
    base = ModuleNames(projections)
  }

  public static let companionName = "adapter_config.json"

  public func run(_ bytes: UnsafeRawBufferPointer) throws -> Reach {
    try withoutGrad {
      try Data(bytes).write(to: file)
      defer { try? FileManager.default.removeItem(at: companion) }
      return try read()
    }
  }

  private func read() throws -> Reach {
    guard let collection = attempt({ try SafeTensorsCollection(path: file.path) }) else { return .nothing }
    for key in collection.keys { _ = attempt { try collection.tensor(key).shape } }
    try collection.file.metadata[Self.companionName].map { try Data($0.utf8).write(to: companion) }
    guard let file = attempt({ try AdapterFile(path: file.path) }) else { return .tensors }

    _ = (file.prompts, attempt { try MergeShares(metadata: file.metadata).text })
    for inspection in [Inspection(file), Inspection(file, base: base)] { _ = attempt { try JSONEncoder().encode(inspection) } }
    var reach = Reach.layers
    for options in [AdapterFile.Options(), AdapterFile.Options(rankLimit: 1, leavesOutVectors: true)] {
      if let adapter = attempt({ try file.unresolved(options).adapter }) { use(adapter) }
      _ = attempt { try file.adapter(for: base, options: options).norm }
      if let adapter = attempt({ try file.adapter(for: projections, options: options) }) {
        for (path, factors) in adapter.factors {
          precondition(factors.weightShape == base.shapes[path], "\(path): \(factors.weightShape)")
        }
        use(adapter)
        reach = .adapter
      }
    }
    return reach
  }

  private func use(_ adapter: Adapter) {
    precondition(!adapter.norm.isNaN, "the norm is no number")
    for limit in [RankLimit.rank(1), .energy(0.9)] { _ = attempt { try adapter.reduced(to: limit) } }
    let inputs = attempt { try MergeShares(metadata: adapter.metadata).inputs.count } ?? 1
    for weight in [0, 0.5] { _ = attempt { try adapter.reweighted(Array(repeating: weight, count: inputs)) } }
  }

  /// nil for what is refused in the proper way.
  private func attempt<Result>(_ body: () throws -> Result) -> Result? {
    do {
      return try body()
    } catch let error as any CustomStringConvertible where Self.isProper(error) {
      precondition(!error.description.isEmpty)
      return nil
    } catch {
      preconditionFailure("not an error of the readers: \(type(of: error)) \(error)")
    }
  }

  private static func isProper(_ error: Any) -> Bool {
    error is SafeTensorsError || error is TensorFileError || error is AdapterFileError || error is MergeError
  }
}
