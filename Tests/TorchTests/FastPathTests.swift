import OrderedCollections
import TestSupport
import Testing
import Torch

/// Convolutions and attention by oneDNN against libtorch's own.
@Suite struct FastPathTests {
  private let generator = Generator(seed: 4)
  private let inputs = 400

  private func convolution(_ dtype: DType, stride: Int, bias: Bool) -> Conv2d {
    let store = WeightStore(.random(generator), dtype: dtype)
    // Enough weights to be worth it in either type.
    return Conv2d(store.root, inputs, 300, kernel: 3, stride: stride, padding: 1, bias: bias)
  }

  @Test(
    "a convolution of a frozen weight, and its gradient", arguments: [DType.float32, .bfloat16, .float16],
    [(1, true), (2, false)])
  func convolution(dtype: DType, shape: (stride: Int, bias: Bool)) {
    let layer = convolution(dtype, stride: shape.stride, bias: shape.bias)
    let tolerance = dtype == .float32 ? 1e-5 : 1e-2
    for size in [9, 14] {
      let x = Tensor.randn([2, inputs, size, size], generator: generator).to(dtype: dtype)
      func plain(_ x: Tensor) -> Tensor { x.conv2d(layer.weight, layer.bias, stride: shape.stride, padding: 1) }
      #expect(difference(layer(x), plain(x)) < tolerance)
      let (found, expected) = (x.cloned().requiringGrad(), x.cloned().requiringGrad())
      layer(found).square().sum().backward()
      plain(expected).square().sum().backward()
      #expect(difference(found.grad, expected.grad) < 2 * tolerance)
    }
  }

  @Test("a weight that changes in place is ordered anew, whether or not somebody holds it", arguments: [true, false])
  func changedWeight(isHeld: Bool) {
    let layer = convolution(.float32, stride: 1, bias: false)
    let holder = isHeld ? layer.weight : nil
    let x = Tensor.randn([1, inputs, 8, 8], generator: generator).requiringGrad()
    let gradient = Tensor.randn([1, 300, 8, 8], generator: generator)
    func pass() -> (output: Tensor, gradient: Tensor) {
      let output = layer(x)
      return (output.detached(), gradients(of: [output], weights: [gradient], withRespectTo: [x])[0]!)
    }
    let before = pass()
    layer.weight.copyInPlace(layer.weight * 2)
    #expect(holder?.isIdentical(to: layer.weight) != false)
    let after = pass()
    #expect(difference(after.output, before.output * 2) < 1e-5)
    #expect(difference(after.gradient, before.gradient * 2) < 1e-5)
  }

  @Test(
    "a frozen weight takes its memory once, twice where gradients pass through it, and comes back to the bit",
    arguments: [DType.float32, .bfloat16, .float16], [1, 2])
  func orderedWeight(dtype: DType, stride: Int) throws {
    let store = WeightStore(.random(generator), dtype: dtype)
    let (layer, bytes, weight) = MemoryMeter.watching { meter in
      let layer = Conv2d(store.root, inputs, 300, kernel: 3, stride: stride, padding: 1, bias: false)
      let weight = layer.weight.cloned()
      return (layer, meter.held - weight.byteCount, weight)
    }
    #expect(bytes == weight.byteCount)
    let x = Tensor.randn([1, inputs, 8, 8], generator: generator).to(dtype: dtype)
    /// What the layer's weights hold beyond what they held.
    func growth(_ body: () -> Void) -> Int {
      MemoryMeter.watching { meter in
        body()
        return meter.held
      }
    }
    // In float32 where the processor has no instructions for the type.
    let isWidened = !Engine.computes(in: dtype)
    #if arch(x86_64)
      try #require(layer.bytesToCome > 0 || dtype == .float16 && !isWidened)
    #endif
    guard layer.bytesToCome > 0 else { return }
    // In oneDNN's order, and what gradients are made of: the turned weight, or the plain one.
    let copy = isWidened ? 2 * bytes : bytes
    let second = stride == 1 ? copy : bytes
    #expect(layer.bytesToCome == copy + second - bytes)
    // oneDNN fills up blocks of channels, here of 300.
    let padding = 0.07
    let ordering = growth { _ = withoutGrad { layer(x) } }
    #expect(abs(ordering - (copy - bytes)) < Int(Double(copy) * padding))
    #expect(layer.bytesToCome == second)
    let turning = growth { layer(x.cloned().requiringGrad()).sum().backward() }
    #expect(turning >= second && turning < Int(Double(second) * (1 + padding)))
    #expect(layer.bytesToCome == 0)
    #expect(store.parameters["weight"]?.equals(weight) == true)
    #expect(layer.weightShape == weight.shape)
    #expect(layer.weight.equals(weight))
  }

  @Test("a weight and a bias that are trained get their gradients, as does a bias alone", arguments: [1, 2], [true, false])
  func trained(stride: Int, isWeightTrained: Bool) throws {
    let layer = convolution(.float32, stride: stride, bias: true)
    let own = [layer.weight, try #require(layer.bias)]
    let x = Tensor.randn([1, inputs, 9, 9], generator: generator)
    let leaves = zip(own, [isWeightTrained, true]).map { $0.cloned().requiringGrad($1) }
    own[0].requiringGrad(isWeightTrained)
    own[1].requiringGrad()
    layer(x).square().sum().backward()
    x.conv2d(leaves[0], leaves[1], stride: stride, padding: 1).square().sum().backward()
    for (found, expected) in zip(own, leaves) where expected.requiresGrad {
      let error = difference(found.grad, expected.grad)
      #expect(error < 2e-5, "\(found.shape): \(error)")
    }
  }

  /// `keeps`: of two inputs none where the weights are frozen, the second one where its weight is trained.
  @Test(
    "frozen layers keep nothing of their input for the backward pass", arguments: [(false, 0), (true, 1)],
    [DType.float32, .bfloat16])
  func inputs(layers: (isTrained: Bool, keeps: Int), dtype: DType) {
    let width = 512
    let weights = (0..<2).map { _ in Tensor.randn([width, width], generator: generator).to(dtype: dtype) }
    if layers.isTrained { weights[1].requiringGrad() }
    let x = Tensor.randn([1024, width], generator: generator).to(dtype: dtype).requiringGrad()
    let bytes = MemoryMeter.watching { meter in
      withExtendedLifetime(x.linear(weights[0], nil).linear(weights[1], nil)) { meter.held }
    }
    #expect(bytes == (1 + layers.keeps) * x.byteCount)

    let layer = convolution(.float32, stride: 1, bias: true)
    let picture = Tensor.randn([1, inputs, 16, 16], generator: generator).requiringGrad()
    // Orders its weight, which stays.
    _ = withoutGrad { layer(picture) }
    let held = MemoryMeter.watching { meter in withExtendedLifetime(layer(picture * 1)) { meter.held } }
    #expect(held < picture.byteCount, "of the output's \(picture.byteCount * 3 / 4) alone")
  }

  @Test(
    "GEGLU keeps its input alone for the backward pass, and its gradient is the same to the bit",
    arguments: [DType.float32, .bfloat16])
  func gated(dtype: DType) throws {
    let input = Tensor.randn([1, 300, 512], generator: generator).to(dtype: dtype)
    let weights = Tensor.randn([1, 300, 256], generator: generator).to(dtype: dtype)
    let (plain, own) = (input.cloned().requiringGrad(), input.cloned().requiringGrad())
    let halves = plain.chunked(2, along: -1)
    let expected = halves[0] * halves[1].gelu()
    expected.backward(weights)
    let (found, bytes) = MemoryMeter.watching { meter in (own.geglu(), meter.held) }
    #expect(bytes <= found.byteCount + 4, "the result, and a leaf of one number")
    found.backward(weights)
    #expect(found.equals(expected))
    #expect(try #require(own.grad).equals(try #require(plain.grad)))
  }

  @Test("attention in blocks", arguments: [DType.float32, .bfloat16], [(600, 600), (1100, 2100), (4000, 77)])
  func attention(dtype: DType, lengths: (queries: Int, keys: Int)) {
    func heads(_ length: Int) -> Tensor {
      Tensor.randn([2, length, 3, 16], generator: generator).to(dtype: dtype).transposed(1, 2)
    }
    let (query, key, value) = (heads(lengths.queries), heads(lengths.keys), heads(lengths.keys))
    let scores = query.to(dtype: .float64).matmul(key.to(dtype: .float64).transposed()) / 4
    let expected = scores.softmax(-1).matmul(value.to(dtype: .float64))
    let tolerance = dtype == .float32 ? 1e-5 : 1e-2
    #expect(difference(Tensor.attention(query, key, value), expected) < tolerance)
    #expect(difference(Tensor.attention(query.cloned().requiringGrad(), key, value), expected) < tolerance)
  }

  @Test(
    "gradients of attention in blocks, of several heads at once and of parts of one, as near to exact ones as libtorch's",
    arguments: [(600, 600), (1100, 2100), (4000, 77)])
  func attentionGradients(lengths: (queries: Int, keys: Int)) {
    func heads(_ length: Int) -> Tensor {
      (Tensor.randn([2, length, 3, 24], generator: generator) * 2).to(dtype: .bfloat16).transposed(1, 2)
    }
    let inputs = [heads(lengths.queries), heads(lengths.keys), heads(lengths.keys)]
    let gradient = heads(lengths.queries)
    func gradients(_ dtype: DType, _ attention: (Tensor, Tensor, Tensor) -> Tensor) -> [Tensor] {
      let leaves = inputs.map { $0.detached().to(dtype: dtype).cloned().requiringGrad() }
      return Torch.gradients(
        of: [attention(leaves[0], leaves[1], leaves[2])], weights: [gradient.to(dtype: dtype)], withRespectTo: leaves
      ).map { $0!.to(dtype: .float64) }
    }
    let exact = gradients(.float64) { ($0.matmul($1.transposed()) / 24.0.squareRoot()).softmax(-1).matmul($2) }
    let ours = gradients(.bfloat16) { Tensor.attention($0, $1, $2) }
    // A mask of zeros is none, and leads to libtorch's own.
    let mask = Tensor.zeros([lengths.queries, lengths.keys], dtype: .bfloat16)
    let plain = gradients(.bfloat16) { Tensor.attention($0, $1, $2, mask: mask) }
    for (exact, (ours, plain)) in zip(exact, zip(ours, plain)) {
      func error(_ found: Tensor) -> Double { ((found - exact).square().sum() / exact.square().sum()).item().squareRoot() }
      let (error, plainError) = (error(ours), error(plain))
      #expect(error < 1.25 * plainError && error < 5e-3, "\(error) where libtorch's is \(plainError)")
    }
  }
}
