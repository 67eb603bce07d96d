import Testing
import Torch

@Suite struct AutocastTests {
  @Test("what checkpointing computes again, it computes in the precision of the first time")
  func checkpointing() throws {
    let generator = Generator(seed: 0)
    let weight = Tensor.randn([8, 8], generator: generator).requiringGrad()
    let x = Tensor.randn([4, 8], generator: generator)

    func gradient(_ layer: ([Tensor]) -> Tensor) throws -> (Tensor, Tensor) {
      weight.setGrad(nil)
      let leaf = x.cloned().requiringGrad()
      let output = autocast(to: .bfloat16) { layer([leaf]) }
      #expect(output.dtype == .bfloat16)
      output.to(dtype: .float32).square().sum().backward()  // outside, as PyTorch advises
      return (try #require(leaf.grad), try #require(weight.grad))
    }
    let body: ([Tensor]) -> Tensor = { $0[0].linear(weight).silu().linear(weight) }
    let plain = try gradient(body)
    let again = try gradient { checkpointed($0, body) }
    #expect(plain.0.equals(again.0))
    #expect(plain.1.equals(again.1))
  }

  @Test("a backward pass inside of the scope finds the weights' gradients, too")
  func backwardInside() throws {
    let generator = Generator(seed: 0)
    let weight = Tensor.randn([8, 8], generator: generator).requiringGrad()
    let x = Tensor.randn([4, 8], generator: generator)
    func gradient(_ layer: ([Tensor]) -> Tensor) throws -> Tensor {
      weight.setGrad(nil)
      autocast(to: .bfloat16) { layer([x]).to(dtype: .float32).square().sum().backward() }
      return try #require(weight.grad)
    }
    let body: ([Tensor]) -> Tensor = { $0[0].linear(weight).silu().linear(weight) }
    #expect(try gradient(body).equals(gradient { checkpointed($0, body) }))
  }

  @Test("what fails only when it is computed again is an error of the backward pass")
  func failureInBackward() throws {
    var runs = 0
    let leaf = Tensor.ones([2, 3]).requiringGrad()
    let error = try #require(throws: TorchError.self) {
      try withTorchErrors {
        let output = checkpointed([leaf]) { inputs in
          runs += 1
          return inputs[0].matmul(Tensor.ones([runs == 1 ? 3 : 4, 2]))
        }
        output.sum().backward()
      }
    }
    #expect(runs == 2)
    #expect(error.description.hasPrefix("backward: aten::matmul"), "\(error)")
  }

  @Test("scopes nest, and each ends with what was before")
  func nesting() {
    let x = Tensor.ones([2, 2])
    func dtype() -> DType { x.matmul(x).dtype }
    autocast(to: .bfloat16) {
      autocast(to: .float16) { #expect(dtype() == .float16) }
      #expect(dtype() == .bfloat16)
    }
    #expect(dtype() == .float32)
  }
}
