internal import Foundation

/// A folder or file that holds no checkpoint as it should.
public struct CheckpointError: Error, CustomStringConvertible, Equatable {
  public enum Reason: Equatable, Sendable {
    case nothingThere
    case noFolder
    /// None of these files is there.
    case noWeights(expected: [String])
    /// No part has one of these files of the variant.
    case noVariant(String, expected: [String])
    /// There are weights, but as a pickle of PyTorch.
    case pickle(file: String)
    /// The list of a model in several files is not such a list.
    case malformedIndex(String)
    /// A file that the list names is not there.
    case missingShard(String)
    /// The list and its files are not of one model: tensors that the files lack, and those that the list does not name.
    case otherShards(missing: [String], unlisted: [String])
    /// A file that is a pickle of PyTorch.
    case pickledFile
    /// A file that is no whole model with original names; some keys that it has.
    case noOriginalCheckpoint(keys: [String])
    /// A file of a model that is put together or samples in another way.
    case foreign(String)
    case unknownPredictionType(family: String)
    case noAutoencoder
    /// A file has no tokenizer, and there is none beside it.
    case noTokenizer(repository: String)
    /// Choices that are for the other layout.
    case configurationOfFolder
    case variantOfFile
    /// A layer that a text encoder does not have, or that is not read.
    case clipSkip(Int, possible: ClosedRange<Int>, textEncoder: String)
  }

  /// The first few of a list of names, which may be of thousands.
  private static func some(_ names: [String], _ place: String) -> String? {
    guard !names.isEmpty else { return nil }
    let shown = names.prefix(3).joined(separator: ", ")
    return "\(names.count) \(names.count == 1 ? "tensor" : "tensors") \(place) (\(shown)\(names.count > 3 ? ", …" : ""))"
  }

  /// As a shell takes it for one word.
  private static func quoted(_ path: String) -> String { "'\(path.replacing("'", with: "'\\''"))'" }

  /// The folder or file.
  public let path: String
  public let reason: Reason

  public var description: String {
    switch reason {
    case .nothingThere:
      "\(path): no such folder or file; expected a folder in the layout of diffusers, a model in one safetensors file, or the id of "
        + "a model on the Hugging Face hub, such as stabilityai/stable-diffusion-xl-base-1.0"
    case .noFolder:
      "\(path): no such folder; expected a model in the layout of diffusers, for instance one that "
        + "`hf download stabilityai/stable-diffusion-xl-base-1.0 --local-dir FOLDER` makes"
    case .noWeights(let expected): "\(path): no weights; expected one of \(expected.joined(separator: ", "))"
    case .noVariant(let variant, let expected):
      "\(path): no part has weights of the variant \(variant); expected one of \(expected.joined(separator: ", ")); without --variant, "
        + "the full weights are read"
    case .pickle(let file):
      "\(path): the weights are a pickle (\(file)), which is a program and is not run; convert it in Python where you trust "
        + "it: load the model with from_pretrained(\"\(path)\") and call save_pretrained(\"\(path)\") of diffusers or transformers"
    case .malformedIndex(let problem): "\(path): not an index of safetensors files: \(problem)"
    case .missingShard(let file):
      "\(path): \(file) is not beside it; a model in several files needs all of them, so download what is missing"
    case .otherShards(let missing, let unlisted):
      "\(path): the index and its files are not of one model: "
        + [Self.some(missing, "in the index alone"), Self.some(unlisted, "in a file alone")].compactMap { $0 }
        .joined(separator: "; ")
        + "; download the index and the files again, from one place"
    case .pickledFile:
      """
      \(path): a pickle, which is a program and is not run; convert it where you trust it:
      python -c 'import sys, torch; from safetensors.torch import save_file; d = torch.load(sys.argv[1], "cpu", \
      weights_only=True); save_file({k: v.clone().contiguous() for k, v in d.get("state_dict", d).items() \
      if torch.is_tensor(v)}, sys.argv[2])' \(Self.quoted(path)) \(Self.quoted((path as NSString).deletingPathExtension + ".safetensors"))
      """
    case .noOriginalCheckpoint(let keys):
      "\(path): no whole model of Stable Diffusion 1.x, 2.x or XL; expected a U-Net (model.diffusion_model.…) with text encoders "
        + "(cond_stage_model.… or conditioner.embedders.…), found \(keys.isEmpty ? "nothing" : keys.joined(separator: ", "))"
        + "; a model in diffusers' layout is given as its folder"
    case .foreign(let name):
      "\(path): \(name), which is not supported; supported are Stable Diffusion 1.x, 2.x and XL"
    case .unknownPredictionType(let family):
      "\(path): \(family), which does not say what its U-Net predicts; choose with --prediction-type: v_prediction for the models "
        + "for 768 pixels (2.0, 2.1 and what comes of them), epsilon for those for 512 pixels (2.0-base, 2.1-base)"
    case .noAutoencoder: "\(path): no autoencoder (first_stage_model.…); give one with --vae, a folder or a safetensors file"
    case .noTokenizer(let repository):
      "\(path): a model in one file has no tokenizer, and there is none beside it or in the Hugging Face cache; give a folder "
        + "with --tokenizer, or fetch that of the family with --tokenizer \(repository)"
    case .configurationOfFolder: "\(path): a folder has its own configurations; --config is for a model in one file"
    case .variantOfFile: "\(path): one file has no variants; --variant chooses among the files of a folder"
    case .clipSkip(let found, let possible, let textEncoder):
      "\(path): --clip-skip \(found); expected \(possible.lowerBound), which is what the model was trained with, to "
        + "\(possible.upperBound), the layers of its \(textEncoder)"
    }
  }
}
