import Foundation
import TestSupport
import Testing
import Torch

/// AdamW beside its formula in float64 (PyTorch: torch.optim.AdamW, torch.nn.utils.clip_grad_norm_).
@Suite struct OptimizerReferenceTests {
  private struct Reference {
    private(set) var values: [Double]
    private var means: [Double]
    private var squares: [Double]
    private var steps = 0.0

    init(_ values: [Double]) {
      self.values = values
      means = values.map { _ in 0 }
      squares = means
    }

    mutating func step(_ gradient: [Double], _ options: AdamW.Options) {
      steps += 1
      for index in values.indices {
        values[index] *= 1 - options.learningRate * options.weightDecay
        means[index] = options.beta1 * means[index] + (1 - options.beta1) * gradient[index]
        squares[index] = options.beta2 * squares[index] + (1 - options.beta2) * gradient[index] * gradient[index]
        let mean = means[index] / (1 - pow(options.beta1, steps))
        let square = squares[index] / (1 - pow(options.beta2, steps))
        values[index] -= options.learningRate * mean / (square.squareRoot() + options.epsilon)
      }
    }
  }

  /// Of each step the gradients of both parameters. Their norm is above 1 in the first and in the last one.
  private let batches: [[[Double]]] = [
    [[3, -1, 0.5], [2, 0.25, -4, 1]],
    [[0.125, -0.25, 0.0625], [0.03125, 0.25, -0.125, 0.25]],
    [[-2, 0.5, 1], [1, -3, 0.5, 0.25]],
  ]

  @Test("steps with decay, some of them with clipped gradients, also with a rate for each parameter", arguments: [1, 0.25])
  func steps(rateFactor: Double) {
    // An epsilon that shows where it stands.
    let options = AdamW.Options(learningRate: 0.05, beta2: 0.95, epsilon: 1e-2, weightDecay: 0.1)
    let shapes = [[3], [2, 2]]
    var references = [Reference([0.5, -1.25, 2]), Reference([0.125, -0.25, 0.75, -2])]
    let parameters = zip(references, shapes).map { Tensor($0.values, shape: $1).to(dtype: .float32).requiringGrad() }
    let optimizer = AdamW(parameters, options, rateFactors: [1, rateFactor])
    for (step, gradients) in batches.enumerated() {
      for (parameter, gradient) in zip(parameters, gradients) {
        parameter.setGrad(Tensor(gradient, shape: parameter.shape).to(dtype: .float32))
      }
      let norm = gradients.joined().map { $0 * $0 }.reduce(0, +).squareRoot()
      #expect((norm > 1) == (step != 1))
      let found = optimizer.clipGradients(to: 1)
      #expect(abs(found - norm) < 1e-6 * norm, "step \(step): \(found), expected \(norm)")
      let scale = norm > 1 ? 1 / (norm + 1e-6) : 1
      optimizer.step()
      for index in references.indices {
        let gradient = gradients[index].map { $0 * scale }
        var own = options
        own.learningRate *= optimizer.rateFactors[index]
        references[index].step(gradient, own)
        let shape = shapes[index]
        let gradientError = difference(parameters[index].grad, Tensor(gradient, shape: shape))
        #expect(gradientError < 1e-6, "gradient \(index) in step \(step): \(gradientError)")
        let error = difference(parameters[index].detached(), Tensor(references[index].values, shape: shape))
        #expect(error < 1e-6, "parameter \(index) after step \(step): \(error)")
      }
    }
  }

  @Test("a norm within the limit changes no gradient")
  func withinTheLimit() {
    let parameter = Tensor([0.0, 0.0] as [Float]).requiringGrad()
    let gradient = Tensor([3.0, -4.0] as [Float])
    parameter.setGrad(gradient.cloned())
    let optimizer = AdamW([parameter], .init(learningRate: 1))
    #expect(optimizer.clipGradients(to: 5) == 5)
    #expect(parameter.grad?.floats() == [3, -4])
    #expect(optimizer.clipGradients(to: .infinity) == 5)
    #expect(parameter.grad?.floats() == [3, -4])
  }
}
