public import Diffusion
internal import Foundation
public import OrderedCollections
public import TestFiles
public import Torch

/// Where diffusers' conversion finds each parameter in an original checkpoint (Tests/Goldens/original).
public struct OriginalGolden {
  public struct Place {
    public let parameter: String
    public let original: String
    /// Nothing, `0` … `2` for a third, `T` for transposed, `P` for a 1×1 convolution.
    public let form: String
  }

  public let places: [Place]

  /// Reads front-coded columns: of each name only what differs from the one above, after the number of letters that do not.
  public init(_ name: String) throws {
    let text = try String(contentsOfFile: "\(goldens)/original/\(name).txt", encoding: .utf8)
    var (parameter, original) = ("", "")
    var places: [Place] = []
    for line in text.split(separator: "\n") {
      let columns = line.split(separator: "\t", omittingEmptySubsequences: false)
      func name(_ column: Int, after above: String) -> String {
        let parts = columns[column].split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        return String(above.prefix(Int(parts[0])!)) + parts[1]
      }
      (parameter, original) = (name(0, after: parameter), name(1, after: original))
      places.append(Place(parameter: parameter, original: original, form: String(columns[2])))
    }
    self.places = places
  }

  /// A model's tensors as an original checkpoint has them.
  public func originals(of tensors: OrderedDictionary<String, Tensor>) -> OrderedDictionary<String, Tensor> {
    precondition(Set(places.map(\.parameter)) == Set(tensors.keys), "the golden is of another model")
    var originals: OrderedDictionary<String, Tensor> = [:]
    for (original, places) in OrderedDictionary(grouping: places, by: \.original) {
      let parts = places.sorted { $0.form < $1.form }.map { tensors[$0.parameter]! }
      originals[original] =
        switch places[0].form {
        case "T": parts[0].transposed(0, 1).contiguous()
        case "P": parts[0].unsqueezed(-1).unsqueezed(-1)
        case "": parts[0]
        default: Tensor.concatenated(parts)
        }
    }
    return originals
  }
}

/// A pipeline of the goldens written as one file with original names, and what such files have besides.
public struct OriginalCheckpoint {
  public let folder: TemporaryFolder
  /// diffusers' folder.
  public let pipeline: String
  public var tensors: OrderedDictionary<String, Tensor> = [:]
  public var path: String { folder("model.safetensors") }

  public init(_ name: String) throws {
    folder = try TemporaryFolder()
    pipeline = "\(goldens)/pipelines/\(name)"
    for (part, store) in try DiffusionModel(folder: pipeline).stores {
      let originals = try OriginalGolden("\(name).\(part)").originals(of: store.parameters)
      tensors.merge(originals) { a, _ in a }
    }
    tensors["alphas_cumprod"] = Tensor.ones([4])
    tensors["model_ema.decay"] = Tensor(0.5)
    let isXL = name == "sdxl"
    let clip = isXL ? "conditioner.embedders.0.transformer" : "cond_stage_model.transformer"
    tensors["\(clip).text_model.embeddings.position_ids"] = Tensor.arange(77).unsqueezed(0)
    if isXL { tensors["conditioner.embedders.1.model.logit_scale"] = Tensor(4.6) }
  }

  public func write(metadata: OrderedDictionary<String, String> = [:]) throws {
    try saveSafeTensors(tensors, metadata: metadata, to: path, overwrite: true)
  }

  /// Writes the file and opens it with the configurations of the folder.
  public func open(
    metadata: OrderedDictionary<String, String> = [:], _ change: (inout Checkpoint.Choices) -> Void = { _ in }
  ) throws -> Checkpoint {
    try write(metadata: metadata)
    var choices = Checkpoint.Choices(configuration: pipeline)
    change(&choices)
    return try Checkpoint(path: path, choices)
  }
}
