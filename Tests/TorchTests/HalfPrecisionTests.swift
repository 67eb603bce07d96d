import TestSupport
import Testing
import Torch

/// Products of half precision, which a processor without instructions for them has to make in float32.
@Suite struct HalfPrecisionTests {
  private static let types = [DType.bfloat16, .float16]
  private let generator = Generator(seed: 6)

  private func random(_ shape: [Int], _ dtype: DType) -> Tensor { Tensor.randn(shape, generator: generator).to(dtype: dtype) }

  /// The largest distance from exact numbers in units of one rounding, beside what sums may be off: those in float32 little, while libtorch's
  /// own, where the processor has instructions for the type, may be rounded before a bias is added.
  private func roundings(_ found: Tensor, _ exact: Tensor) -> Double {
    let unit = found.dtype == .bfloat16 ? 1.0 / 256 : 1.0 / 2048
    let slack = Engine.computes(in: found.dtype) ? unit : 1e-5
    let (found, exact) = (found.to(dtype: .float64), exact.to(dtype: .float64))
    return ((found - exact).abs() / (exact.abs() * unit + exact.abs().max().item() * slack)).max().item()
  }

  @Test("a linear layer and its gradients are exact but for rounding", arguments: types, [[true, false], [true, true]])
  func linear(dtype: DType, asking: [Bool]) throws {
    let (x, weight) = (random([2, 100, 130], dtype), random([90, 130], dtype))
    let bias = random([90], dtype)
    let cotangent = random([2, 100, 90], dtype)
    func run(_ dtype: DType, _ layer: ([Tensor]) -> Tensor) -> [Tensor] {
      let leaves = zip([x, weight], asking).map { $0.to(dtype: dtype).cloned().requiringGrad($1) }
      let output = layer(leaves + [bias.to(dtype: dtype)])
      output.backward(cotangent.to(dtype: dtype))
      return [output.detached()] + leaves.compactMap(\.grad)
    }
    let found = run(dtype) { $0[0].linear($0[1], $0[2]) }
    let exact = run(.float64) { $0[0].matmul($0[1].transposed()) + $0[2] }
    try #require(found.count == exact.count)
    for (found, exact) in zip(found, exact) {
      #expect(found.dtype == dtype)
      let error = roundings(found, exact)
      #expect(error <= 1, "\(found.shape): \(error) units")
    }
  }

  @Test("products of many matrices, and a convolution with its gradients", arguments: types)
  func others(dtype: DType) throws {
    let (a, b) = (random([3, 40, 70], dtype), random([3, 70, 50], dtype))
    let product = a.matmul(b)
    #expect(product.dtype == dtype)
    let error = roundings(product, a.to(dtype: .float64).matmul(b.to(dtype: .float64)))
    #expect(error <= 1, "\(error) units")

    let inputs = [random([2, 20, 9, 9], dtype), random([30, 20, 3, 3], dtype), random([30], dtype)]
    func run(_ dtype: DType) -> [Tensor] {
      let leaves = inputs.map { $0.to(dtype: dtype).cloned().requiringGrad() }
      let output = leaves[0].conv2d(leaves[1], leaves[2], stride: 2, padding: 1)
      output.square().sum().backward()
      return [output.detached()] + leaves.compactMap(\.grad)
    }
    let (found, exact) = (run(dtype), run(.float64))
    try #require(found.count == 4 && exact.count == 4)
    for (found, exact) in zip(found, exact) {
      #expect(found.dtype == dtype)
      let error = difference(found, exact)
      #expect(error < 1e-2, "\(found.shape): \(error)")
    }
  }

  @Test("attention with gradients keeps no more than its inputs and its result", arguments: types)
  func attention(dtype: DType) throws {
    let heads = (0..<3).map { _ in random([1, 8, 256, 64], dtype) }
    func run(_ dtype: DType) -> (held: Int, output: Tensor, gradients: [Tensor]) {
      let leaves = heads.map { $0.to(dtype: dtype).cloned().requiringGrad() }
      let (output, held) = MemoryMeter.watching { meter in (Tensor.attention(leaves[0], leaves[1], leaves[2]), meter.held) }
      output.square().sum().backward()
      return (held, output.detached(), leaves.map { $0.grad! })
    }
    let (found, exact) = (run(dtype), run(.float64))
    #expect(found.held < found.output.byteCount * 11 / 10)
    for (found, exact) in zip([found.output] + found.gradients, [exact.output] + exact.gradients) {
      #expect(found.dtype == dtype)
      let error = difference(found, exact)
      #expect(error < 2e-2, "\(error)")
    }
  }

  #if arch(x86_64)
    // libtorch's own loops take two hundred times as long where the processor has no instructions for them.
    @Test("a convolution takes little longer than in float32", arguments: types)
    func rate(dtype: DType) {
      func fastest(_ dtype: DType) -> Duration {
        let (x, weight) = (random([1, 256, 32, 32], dtype), random([256, 256, 3, 3], dtype))
        return (0..<4).map { _ in ContinuousClock().measure { _ = x.conv2d(weight, padding: 1) } }.min()!
      }
      let ratio = fastest(dtype) / fastest(.float32)
      #expect(ratio < 10, "\(ratio)")
    }
  #endif
}
