/// A folder that holds no checkpoint as it should.
public struct CheckpointError: Error, CustomStringConvertible, Equatable {
  public enum Reason: Equatable, Sendable {
    case noFolder
    /// None of these files is there.
    case noWeights(expected: [String])
    /// There are weights, but as a pickle of PyTorch.
    case pickle(file: String)
    /// The list of a model in several files is not such a list.
    case malformedIndex(String)
  }

  /// The folder or file.
  public let path: String
  public let reason: Reason

  public var description: String {
    switch reason {
    case .noFolder:
      "\(path): no such folder; expected a model in the layout of diffusers, for instance one that "
        + "`huggingface-cli download stabilityai/stable-diffusion-xl-base-1.0 --local-dir FOLDER` makes"
    case .noWeights(let expected): "\(path): no weights; expected one of \(expected.joined(separator: ", "))"
    case .pickle(let file):
      "\(path): the weights are a pickle (\(file)), which is a program and is not run; convert it in Python where you trust "
        + "it: load the model with from_pretrained(\"\(path)\") and call save_pretrained(\"\(path)\") of diffusers or transformers"
    case .malformedIndex(let problem): "\(path): not an index of safetensors files: \(problem)"
    }
  }
}
