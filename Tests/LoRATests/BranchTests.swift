import LoRA
import OrderedCollections
import TestSupport
import Testing
import Torch

@Suite struct BranchTests {
  /// A linear layer, and convolutions with and without a stride.
  private func layers(dtype: DType = .float32) -> WeightStore {
    let store = WeightStore(.random(Generator(seed: 1)), dtype: dtype)
    _ = Linear(store.root / "linear", 6, 5)
    _ = Conv2d(store.root / "conv", 6, 5, kernel: 3, padding: 1)
    _ = Conv2d(store.root / "strided", 6, 5, kernel: 3, stride: 2, padding: 1, bias: false)
    _ = Conv2d(store.root / "pointwise", 6, 5, kernel: 1)
    return store
  }

  private func run(_ projection: any Projection, _ x: Tensor) throws -> Tensor {
    if let linear = projection as? Linear { return linear(x.permuted(0, 2, 3, 1)) }
    let conv = try #require(projection as? Conv2d)
    return conv(x)
  }

  private func adapter(for store: WeightStore, alpha: Double = 1.5) -> Adapter {
    randomAdapter(
      Array(store.projections.keys), of: ModuleNames(store.projections), ranks: [3], alphas: [alpha], seed: 2)
  }

  @Test("a branch computes what the changed weight would", arguments: ["linear", "conv", "strided", "pointwise"])
  func branchIsTheDenseDelta(name: String) throws {
    let store = layers(dtype: .float64)
    let adapter = adapter(for: store)
    let projection = try #require(store.projections[name])
    let x = Tensor.randn([2, 6, 8, 7], generator: Generator(seed: 3), dtype: .float64)
    let plain = try run(projection, x)
    let attachment = try Attachment(adapter, weight: 0.7, to: store.projections)
    let adapted = try attachment.whileAttached { try run(projection, x) }

    let delta = try #require(adapter.delta(name, dtype: .float64)) * 0.7
    let conv = projection as? Conv2d
    let dense =
      conv.map { x.conv2d(delta, stride: $0.stride, padding: $0.padding) } ?? x.permuted(0, 2, 3, 1).linear(delta)
    #expect(difference(adapted - plain, dense) <= 1e-12, "\(name)")
    #expect(difference(adapted, plain) > 1e-3, "the branch does something")
  }

  @Test func detachedModelIsTheOldOne() throws {
    let store = layers()
    let x = Tensor.randn([2, 6, 8, 7], generator: Generator(seed: 3))
    func outputs() throws -> [Tensor] { try store.projections.values.map { try run($0, x) } }
    let before = try outputs()
    let first = try Attachment(adapter(for: store), to: store.projections)
    let second = try Attachment(adapter(for: store, alpha: 4), to: store.projections)
    first.attach()
    first.attach()  // once is enough
    second.attach()
    #expect(store.projections.values.allSatisfy { $0.branches.count == 2 })
    first.detach()
    let onlySecond = try outputs()
    second.whileAttached {}  // ends attached things, as it says
    #expect(!second.isAttached)
    for (found, expected) in zip(try outputs(), before) { #expect(found.equals(expected)) }
    for (found, expected) in zip(onlySecond, before) { #expect(!found.equals(expected)) }
  }

  @Test("an untrained adapter changes nothing, and trains")
  func trainable() throws {
    let store = layers()
    let generator = Generator(seed: 5)
    let adapter = try Adapter.trainable(
      at: ["linear", "strided"], of: store.projections, rank: 4, alpha: 4, generator: generator)
    let x = Tensor.randn([2, 6, 8, 7], generator: generator)
    let linear = try #require(store.projections["linear"])
    let before = try run(linear, x)
    let attachment = try Attachment(adapter, to: store.projections)
    attachment.attach()
    #expect(try run(linear, x).equals(before))

    // Kaiming's bound for a = √5 is 1/√fan_in (peft 0.21.2: tuners/lora/layer.py).
    for (path, fanIn) in [("linear", 6.0), ("strided", 54.0)] {
      let down = try #require(adapter.factors[path]).down
      let bound = 1 / fanIn.squareRoot()
      #expect(down.abs().max().item() <= bound && down.abs().max().item() > 0.8 * bound)
    }
    let adam = AdamW(adapter.parameters, .init(learningRate: 0.05, weightDecay: 0))
    let wanted = before + x.permuted(0, 2, 3, 1).linear(Tensor.randn([5, 6], generator: generator))
    var losses: [Double] = []
    for _ in 0..<40 {
      let loss = try run(linear, x).meanSquaredError(wanted)
      losses.append(loss.item())
      loss.backward()
      adam.step()
      adam.zeroGrad()
    }
    #expect(losses[39] < 0.2 * losses[0], "\(losses[0]) → \(losses[39])")
    attachment.detach()
    #expect(try run(linear, x).equals(before))
  }

  @Test("frozen factors take the type of the model, trained ones keep theirs")
  func precisions() throws {
    let store = layers(dtype: .bfloat16)
    let linear = try #require(store.projections["linear"] as? Linear)
    let x = Tensor.randn([3, 6], generator: Generator(seed: 1)).to(dtype: .bfloat16)
    let frozen = LowRankBranch(try #require(adapter(for: store).factors["linear"]), for: linear)
    #expect(frozen.factors.down.dtype == .bfloat16)
    let trained = LowRankFactors.trainable(for: linear, rank: 2, alpha: 2, generator: Generator(seed: 1))
    let branch = LowRankBranch(trained, for: linear)
    #expect(branch.factors.down.dtype == .float32)
    linear.branches = [branch]
    let output = linear(x)
    #expect(output.dtype == .bfloat16)
    output.sum().backward()
    #expect(trained.up.grad?.dtype == .float32)
  }

  @Test func errors() throws {
    let store = layers()
    let factors = LowRankFactors(down: .ones([1, 7]), up: .ones([5, 1]), alpha: 1)
    let shape = #expect(throws: AttachmentError.self) {
      try Attachment(Adapter(factors: ["linear": factors]), to: store.projections)
    }
    #expect(shape?.description.contains("changes linear as a weight [5, 7], the model's is [5, 6]") == true)
    let missing = #expect(throws: AttachmentError.self) {
      try Attachment(Adapter(factors: ["unet.elsewhere": factors]), to: store.projections)
    }
    #expect(missing?.description.contains("the adapter changes unet.elsewhere, which the model does not have") == true)
    for (rank, alpha, message) in [(0, 1.0, "rank 0: expected 1 or more"), (2, 0, "alpha 0.0: expected a number above 0")] {
      let error = #expect(throws: RankError.self) {
        try Adapter.trainable(
          at: ["linear"], of: store.projections, rank: rank, alpha: alpha, generator: Generator(seed: 0))
      }
      #expect(error?.description == message)
    }
  }
}
