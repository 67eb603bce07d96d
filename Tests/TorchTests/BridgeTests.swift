import Testing
import Torch

@Suite struct BridgeTests {
  @Test(
    "every C++ exception becomes a Swift error with its message",
    arguments: [
      (0, "a c10::Error"), (1, "an invalid argument"), (2, "out of memory"), (3, "unknown type"),
    ])
  func exceptions(kind: Int, message: String) {
    let error = #expect(throws: TorchError.self) { try throwFromLibtorch(kind: kind) }
    #expect(error?.description.contains(message) == true)
  }

  @Test func failedOperationNamesItsArguments() throws {
    let error = #expect(throws: TorchError.self) {
      try withTorchErrors { Tensor.zeros([2, 3]).matmul(Tensor.zeros([4, 5])) }
    }
    let text = try #require(error?.description)
    #expect(text.contains("aten::matmul"))
    #expect(text.contains("float32[2, 3]"))
    #expect(text.contains("float32[4, 5]"))
  }

  @Test func sameSeedSameNumbersAsPyTorch() {
    // torch.randn(4, generator=torch.Generator("cpu").manual_seed(0)), torch 2.13.0
    let expected: [Float] = [1.5409961, -0.2934289, -2.1787894, 0.56843126]
    let drawn = Tensor.randn([4], generator: Generator(seed: 0)).floats()
    for (found, wanted) in zip(drawn, expected) { #expect(abs(found - wanted) < 1e-6) }
  }

  @Test func generatorStateContinues() {
    let first = Generator(seed: 3)
    _ = Tensor.randn([5], generator: first)
    let state = first.state
    let wanted = Tensor.randn([7], generator: first)
    let second = Generator(seed: 99)
    second.state = state
    #expect(Tensor.randn([7], generator: second).equals(wanted))
  }

  @Test func backwardOfAProduct() throws {
    let x = Tensor([1, 2, 3] as [Float]).requiringGrad()
    (x * x).sum().backward()
    #expect(x.grad?.floats() == [2, 4, 6])
    let gradient = try #require(gradients(of: [(x * 3).sum()], withRespectTo: [x])[0])
    #expect(gradient.floats() == [3, 3, 3])
    #expect(x.grad?.floats() == [2, 4, 6], "gradients(of:) leaves the leaves alone")
  }

  @Test func checkpointedGivesTheSameGradients() throws {
    let generator = Generator(seed: 1)
    let x = Tensor.randn([3, 4], generator: generator)
    let weight = Tensor.randn([4, 4], generator: generator)
    let scale = Tensor.randn([4], generator: generator)
    func run(_ apply: ([Tensor], @escaping ([Tensor]) -> Tensor) -> Tensor) -> (Tensor, Tensor, Tensor) {
      let input = x.cloned().requiringGrad()
      let captured = scale.cloned().requiringGrad()
      let output = apply([input]) { ($0[0] * captured).matmul(weight).tanh() }
      (output * output).sum().backward()
      return (output, input.grad ?? .zeros([0]), captured.grad ?? .zeros([0]))
    }
    let plain = run { inputs, body in body(inputs) }
    let saved = run { inputs, body in checkpointed(inputs, body) }
    #expect(saved.0.equals(plain.0))
    #expect(saved.1.equals(plain.1))
    #expect(saved.2.equals(plain.2))
  }

  @Test("what asks for no gradient is not computed again, and an input that is not used gets none")
  func checkpointedWithoutGradients() {
    var runs = 0
    func double(_ inputs: [Tensor]) -> Tensor {
      checkpointed(inputs) {
        runs += 1
        return $0[0] * 2
      }
    }
    let frozen = Tensor([1, 2] as [Float])
    #expect(!double([frozen]).requiresGrad)
    let leaf = Tensor([3, 4] as [Float]).requiringGrad()
    (double([frozen]) * leaf).sum().backward()
    #expect(runs == 2, "two forward passes and no other")
    #expect(leaf.grad?.floats() == [2, 4])

    let unused = Tensor([5, 6] as [Float]).requiringGrad()
    (double([frozen, unused]) * leaf).sum().backward()
    #expect(unused.grad == nil)
    #expect(leaf.grad?.floats() == [4, 8])
  }

  @Test func adamMovesByTheLearningRate() {
    let parameter = Tensor([1.0] as [Float]).requiringGrad()
    let adam = AdamW([parameter], .init(learningRate: 0.1, weightDecay: 0))
    (parameter * 5).sum().backward()
    adam.step()
    // The first step of Adam is the learning rate against the gradient's sign, whatever its size.
    #expect(abs(parameter.item() - 0.9) < 1e-6)
  }
}
