import Diffusion
import OrderedCollections
import TestSupport
import Testing
import Torch

@Suite struct UNetTests {
  private static func inputs(height: Int = 8, width: Int = 8) -> (Tensor, Tensor, Tensor, Tensor, Tensor) {
    let generator = Generator(seed: 1)
    return (
      Tensor.randn([2, 4, height, width], generator: generator), Tensor([7, 801]),
      Tensor.randn([2, 5, 20], generator: generator), Tensor.randn([2, 10], generator: generator),
      Tensor([64, 64, 0, 0, 64, 64, 64, 48, 4, 0, 64, 64].map(Float.init), shape: [2, 6])
    )
  }

  @Test("checkpointing changes no bit of the result, of a gradient of an input or of a weight")
  func checkpointing() throws {
    let store = WeightStore(.random(Generator(seed: 0)))
    let unet = try UNet2DConditionModel(.small, store.root)
    let path = "down_blocks.2.attentions.0.transformer_blocks.1.attn2.to_k.weight"
    let weight = try #require(store.parameters[path]).requiringGrad()

    func run(_ checkpointing: GradientCheckpointing) throws -> [Tensor] {
      unet.checkpointing = checkpointing
      weight.setGrad(nil)
      let (sample, timestep, states, textEmbeds, timeIds) = Self.inputs()
      for leaf in [sample, states, textEmbeds] { leaf.requiringGrad() }
      let output = unet(
        sample: sample, timestep: timestep, encoderHiddenStates: states, addedConditions: (textEmbeds, timeIds))
      output.square().sum().backward()
      return [output] + (try [sample, states, textEmbeds, weight].map { try #require($0.grad) })
    }
    let plain = try run(.none)
    for checkpointing in [.all, GradientCheckpointing(pieces: [0, 3, 4])] {
      for (a, b) in zip(plain, try run(checkpointing)) {
        #expect(a.equals(b))
        #expect(a.abs().max().item() > 0)
      }
    }
  }

  @Test("without a graph, checkpointing leaves none")
  func checkpointingWithoutGrad() throws {
    let unet = try UNet2DConditionModel(.small, WeightStore(.random(Generator(seed: 0))).root)
    unet.checkpointing = .all
    let (sample, timestep, states, textEmbeds, timeIds) = Self.inputs()
    let output = withoutGrad {
      unet(sample: sample, timestep: timestep, encoderHiddenStates: states, addedConditions: (textEmbeds, timeIds))
    }
    #expect(!output.requiresGrad)
  }

  @Test("the same seed makes the same model")
  func randomWeights() throws {
    func make(_ seed: UInt64) throws -> WeightStore {
      let store = WeightStore(.random(Generator(seed: seed)))
      _ = try UNet2DConditionModel(.small, store.root)
      return store
    }
    let (first, same, other) = (try make(3), try make(3), try make(4))
    #expect(first.parameters.keys == same.parameters.keys)
    #expect(zip(first.parameters.values, same.parameters.values).allSatisfy { $0.equals($1) })
    #expect(!zip(first.parameters.values, other.parameters.values).allSatisfy { $0.equals($1) })
  }

  @Test("bfloat16 stays bfloat16 and near float32")
  func lowPrecision() throws {
    let store = WeightStore(.random(Generator(seed: 0)))
    let unet = try UNet2DConditionModel(.small, store.root)
    let low = try UNet2DConditionModel(.small, WeightStore(.random(Generator(seed: 0)), dtype: .bfloat16).root)
    let (sample, timestep, states, textEmbeds, timeIds) = Self.inputs()
    let expected = unet(
      sample: sample, timestep: timestep, encoderHiddenStates: states, addedConditions: (textEmbeds, timeIds))
    let found = low(
      sample: sample.to(dtype: .bfloat16), timestep: timestep, encoderHiddenStates: states.to(dtype: .bfloat16),
      addedConditions: (textEmbeds.to(dtype: .bfloat16), timeIds))
    #expect(found.dtype == .bfloat16)
    #expect(difference(found.to(dtype: .float32), expected) < 0.05)
  }

  @Test("a model without a mid block, as distilled ones are")
  func noMidBlock() throws {
    var configuration = UNet2DConditionModel.Configuration.small
    configuration.midBlockType = nil
    let store = WeightStore(.random(Generator(seed: 0)))
    let unet = try UNet2DConditionModel(configuration, store.root)
    let (sample, timestep, states, textEmbeds, timeIds) = Self.inputs(height: 5, width: 7)
    let output = unet(
      sample: sample, timestep: timestep, encoderHiddenStates: states, addedConditions: (textEmbeds, timeIds))
    #expect(output.shape == [2, 4, 5, 7])
    #expect(!store.parameters.keys.contains { $0.hasPrefix("mid_block") })
  }
}
