internal import LoRA
internal import Torch

/// One input on which the merged model is compared with a LoRA alone: a fidelity term of Eq 3.
struct Comparison {
  /// What the model as it now stands predicts [N, ...], with gradients if they are recorded.
  let prediction: () throws -> Tensor
  /// What the LoRA alone predicts.
  let teacher: Tensor
}

extension FidelityProbe {
  /// Draws an input of LoRA `index` and asks the LoRA alone.
  func comparison(_ index: Int, teacher: Attachment, generator: Generator) throws -> Comparison {
    let input = try draw(index, generator: generator)
    let wanted = try withoutGrad { try teacher.whileAttached { try prediction(of: input) } }
    return Comparison(prediction: { try prediction(of: input) }, teacher: wanted)
  }
}
