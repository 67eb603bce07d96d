import TestSupport
import Testing
import Torch

/// Products large enough for oneDNN against libtorch's own matmul.
@Suite struct LinearTests {
  private let x: Tensor
  private let weight: Tensor
  private let bias: Tensor
  private let cotangent: Tensor

  init() {
    let generator = Generator(seed: 3)
    x = Tensor.randn([2, 60, 130], generator: generator)
    weight = Tensor.randn([90, 130], generator: generator)
    bias = Tensor.randn([90], generator: generator)
    cotangent = Tensor.randn([2, 60, 90], generator: generator)
  }

  private func leaves(_ asking: [Bool]) -> [Tensor] {
    zip([x, weight, bias], asking).map { $0.cloned().requiringGrad($1) }
  }

  private func linear(_ leaves: [Tensor]) -> Tensor { leaves[0].linear(leaves[1], leaves[2]) }
  private func plain(_ leaves: [Tensor]) -> Tensor { leaves[0].matmul(leaves[1].transposed()) + leaves[2] }

  @Test("products, with and without bias, of views, too")
  func values() {
    #expect(difference(x.linear(weight, bias), plain([x, weight, bias])) < 1e-5)
    #expect(difference(x.linear(weight), x.matmul(weight.transposed())) < 1e-5)
    let (view, turned) = (x.transposed(0, 1), weight.transposed().contiguous().transposed())
    #expect(difference(view.linear(turned, bias), plain([view, weight, bias])) < 1e-5)
  }

  @Test(
    "gradients of what asks for them, and of nothing else",
    arguments: [[true, false, false], [false, true, false], [true, true, true], [false, false, true]])
  func gradients(asking: [Bool]) {
    let (found, expected) = (leaves(asking), leaves(asking))
    linear(found).backward(cotangent)
    plain(expected).backward(cotangent)
    for (index, asks) in asking.enumerated() {
      guard asks else {
        #expect(found[index].grad == nil)
        continue
      }
      #expect(difference(found[index].grad, expected[index].grad) < 1e-5)
    }
    #expect(!linear(leaves([false, false, false])).requiresGrad)
    #expect(!withoutGrad { linear(leaves([true, true, true])) }.requiresGrad)
  }

  @Test("aᵀ a from a triangle of blocks", arguments: [100, 130, 517])
  func gram(width: Int) {
    let a = Tensor.randn([700, width], generator: Generator(seed: 4))
    #expect(difference(a.gram(), a.transposed().matmul(a)) < 1e-5)
    let rounded = a.to(dtype: .bfloat16)
    #expect(rounded.gram().equals(rounded.gram().transposed()))
    #expect(difference(rounded.gram(), rounded.transposed().matmul(rounded)) < 1e-2)
  }

  @Test("parts of matrices, and gradients that are one number everywhere")
  func gaps() {
    let (wide, high) = (Tensor.concatenated([weight, weight], along: 1), Tensor.concatenated([x, x], along: 2))
    let (part, rows) = (wide.narrow(1, from: 130, count: 130), high.narrow(2, from: 0, count: 130))
    #expect(!part.isContiguous && !rows.isContiguous)
    #expect(difference(rows.linear(part, bias), plain([x, weight, bias])) < 1e-5)
    let (found, expected) = (leaves([true, true, true]), leaves([true, true, true]))
    linear(found).sum().backward()
    plain(expected).sum().backward()
    for (one, other) in zip(found, expected) { #expect(difference(one.grad, other.grad) < 1e-5) }
  }

  @Test("gradients of gradients")
  func second() throws {
    func both(_ product: ([Tensor]) -> Tensor) throws -> (Tensor?, Tensor?) {
      let leaves = leaves([true, true, true])
      let first = Torch.gradients(
        of: [product(leaves).square().sum()], withRespectTo: [leaves[0]], retainGraph: true, createGraph: true)
      try #require(first[0]).square().sum().backward()
      return (leaves[0].grad, leaves[1].grad)
    }
    let (found, expected) = (try both(linear), try both(plain))
    #expect(difference(found.0, expected.0) < 1e-4)
    #expect(difference(found.1, expected.1) < 1e-4)
  }

  @Test("a graph that is gone is an error")
  func twice() throws {
    let output = linear(leaves([true, true, true]))
    output.backward(cotangent)
    let error = try #require(throws: TorchError.self) { try withTorchErrors { output.backward(cotangent) } }
    #expect(error.message.contains("a second time"), "\(error)")
    let kept = linear(leaves([true, true, true]))
    kept.backward(cotangent, retainGraph: true)
    try withTorchErrors { kept.backward(cotangent) }
  }

  @Test("autocast holds for large products, too")
  func autocasting() {
    #expect(autocast(to: .bfloat16) { x.linear(weight, bias) }.dtype == .bfloat16)
  }
}
