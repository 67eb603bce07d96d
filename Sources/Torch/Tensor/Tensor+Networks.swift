// The operations that layers are made of.
extension Tensor {
  /// x [..., in], weight [out, in], bias [out] → [..., out].
  public func linear(_ weight: Tensor, _ bias: Tensor? = nil) -> Tensor {
    OneDNN.linear(self, weight, bias)
      ?? call(Ops.linear, .tensor(self), .tensor(weight), .optionalTensor(bias))
  }

  /// x [N, in, H, W], weight [out, in, k, k] → [N, out, H', W'].
  public func conv2d(
    _ weight: Tensor, _ bias: Tensor? = nil, stride: Int = 1, padding: Int = 0
  ) -> Tensor {
    let inputs = [self, weight] + (bias.map { [$0] } ?? [])
    return OneDNN.widening(inputs) {
      $0[0].conv2d($0[1], bias == nil ? nil : $0[2], stride: stride, padding: padding)
    }
      ?? call(
        Ops.conv2d, .tensor(self), .tensor(weight), .optionalTensor(bias), .ints([stride, stride]), .ints([padding, padding]))
  }

  /// dL/dx of `conv2d` from the receiver, dL/dy [N, out, H', W'].
  func convolutionInputGradient(input: Tensor, weight: Tensor, stride: Int, padding: Int) -> Tensor {
    OneDNN.widening([self, input, weight]) {
      $0[0].convolutionInputGradient(input: $0[1], weight: $0[2], stride: stride, padding: padding)
    }
      ?? callMany(
        Ops.convolutionBackward, .tensor(self), .tensor(input), .tensor(weight), .none, .ints([stride, stride]),
        .ints([padding, padding]), .ints([1, 1]), .bool(false), .ints([0, 0]), .int(1), .bools([true, false, false]),
        capacity: 3)[0]
  }

  /// x [N, C, ...] normalised over each of `groups` groups of channels.
  public func groupNorm(_ groups: Int, weight: Tensor?, bias: Tensor?, epsilon: Double) -> Tensor {
    call(
      Ops.groupNorm, .tensor(self), .int(groups), .optionalTensor(weight), .optionalTensor(bias), .double(epsilon))
  }

  /// Normalised over the last axis.
  public func layerNorm(weight: Tensor?, bias: Tensor?, epsilon: Double) -> Tensor {
    call(
      Ops.layerNorm, .tensor(self), .ints([dim(-1)]), .optionalTensor(weight), .optionalTensor(bias), .double(epsilon))
  }

  /// a · gelu(b) of [a, b], x [..., 2 n] → [..., n] (GEGLU, arXiv 2002.05202). For the backward pass x alone is kept: gelu(b), half as large, is
  /// computed again.
  public func geglu() -> Tensor {
    checkpointed([self]) { inputs in
      let halves = inputs[0].chunked(2, along: -1)
      return halves[0] * halves[1].gelu()
    }
  }

  /// Rows of the receiver [vocabulary, width] for ids [...] → [..., width].
  public func embedding(_ ids: Tensor) -> Tensor { call(Ops.embedding, .tensor(self), .tensor(ids)) }

  /// softmax(q kᵀ / √width [+ mask]) v; q [N, heads, L, width], k and v [N, heads, S, width].
  public static func attention(
    _ query: Tensor, _ key: Tensor, _ value: Tensor, mask: Tensor? = nil, isCausal: Bool = false
  ) -> Tensor {
    if mask == nil, !isCausal, let attended = OneDNN.attention(query, key, value) { return attended }
    return call(
      Ops.attention, .tensor(query), .tensor(key), .tensor(value), .optionalTensor(mask), .double(0), .bool(isCausal))
  }

  /// x [N, C, H, W] → [N, C, height, width].
  public func upsampledNearest(height: Int, width: Int) -> Tensor {
    call(Ops.upsampleNearest, .tensor(self), .ints([height, width]), .none)
  }

  /// Antialiased bilinear scaling of x [N, C, H, W].
  public func resizedBilinear(height: Int, width: Int) -> Tensor {
    call(Ops.upsampleBilinear, .tensor(self), .ints([height, width]), .bool(false), .none)
  }

  /// Bicubic scaling of x [N, C, H, W], which is not antialiased.
  public func resizedBicubic(height: Int, width: Int) -> Tensor {
    call(Ops.upsampleBicubic, .tensor(self), .ints([height, width]), .bool(false), .none)
  }

  /// Means of squares of `size` by `size` of x [N, C, H, W], side by side: [N, C, H / size, W / size].
  public func averagePooled(_ size: Int) -> Tensor { call(Ops.averagePool, .tensor(self), .ints([size, size])) }

  /// Zeros (or `value`) around the last two axes.
  public func padded(left: Int, right: Int, top: Int, bottom: Int, value: Double = 0) -> Tensor {
    call(Ops.pad, .tensor(self), .ints([left, right, top, bottom]), .string("constant"), .double(value))
  }

  /// Mean of squared differences.
  public func meanSquaredError(_ target: Tensor) -> Tensor { call(Ops.mseLoss, .tensor(self), .tensor(target)) }

  /// Mean negative log-likelihood of class ids [N] under logits [N, classes].
  public func crossEntropy(_ classes: Tensor) -> Tensor { call(Ops.crossEntropy, .tensor(self), .tensor(classes)) }
}
