internal import LoRA
internal import Torch

/// One input on which the merged model is compared with what it should predict, such as a LoRA alone: a fidelity term of Eq 3.
struct Comparison {
  /// What the model as it now stands predicts [N, ...], with gradients if they are recorded.
  let prediction: () throws -> Tensor
  /// What it should predict.
  let teacher: Tensor
}

extension FidelityProbe {
  /// Draws inputs of LoRA `index`, or of all.
  ///
  /// - Parameter teachers: D ⊕ L_k for each LoRA.
  /// - Returns: for each input what asks the LoRA alone, or all one by one.
  func comparisons(
    _ count: Int, of index: Int, teachers: [Attachment], generator: Generator
  ) throws -> [() throws -> Comparison] {
    try draws(count, of: index, generator: generator).map { input in
      { try comparison(on: input, of: index, teachers: teachers) }
    }
  }

  private func comparison(on input: Input, of index: Int, teachers: [Attachment]) throws -> Comparison {
    func predicted(_ teacher: Attachment) throws -> Tensor { try teacher.whileAttached { try prediction(of: input) } }
    let wanted = try withoutGrad {
      if index < teachers.count { return try predicted(teachers[index]) }
      let base = try prediction(of: input)
      return try teachers.reduce(base) { try $0 + (predicted($1) - base) }
    }
    return Comparison(prediction: { try prediction(of: input) }, teacher: wanted)
  }
}
