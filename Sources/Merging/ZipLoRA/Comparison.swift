package import LoRA
package import Torch

/// One input on which the merged model is compared with what it should predict: a fidelity term of Eq 3.
package struct Comparison {
  /// What the model as it now stands predicts [N, ...], with gradients if they are recorded.
  package let prediction: () throws -> Tensor
  /// What it should predict.
  package let teacher: Tensor
}

extension FidelityProbe {
  /// Draws inputs of a term.
  ///
  /// - Parameter teachers: D ⊕ L_k for each LoRA.
  /// - Returns: one closure for each input; calling it runs the teachers and gives the comparison.
  package func comparisons(
    _ count: Int, of term: FidelityTerm, teachers: [Attachment], generator: Generator
  ) throws -> [() throws -> Comparison] {
    try draws(count, of: term, generator: generator).map { input in
      { try comparison(on: input, of: term, teachers: teachers) }
    }
  }

  private func comparison(on input: Input, of term: FidelityTerm, teachers: [Attachment]) throws -> Comparison {
    func predicted(_ teacher: Attachment) throws -> Tensor { try teacher.whileAttached { try prediction(of: input) } }
    let teacher = try withoutGrad {
      switch term {
      case .lora(let index): return try predicted(teachers[index])
      case .joint:
        let base = try prediction(of: input)
        return try teachers.reduce(base) { try $0 + (predicted($1) - base) }
      }
    }
    return Comparison(prediction: { try prediction(of: input) }, teacher: teacher)
  }
}
