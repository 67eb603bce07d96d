import Diffusion
import OrderedCollections
import Testing
import Torch

@Suite struct AutoencoderTests {
  private static let small = AutoencoderKL.Configuration(
    blockOutChannels: [4, 8], layersPerBlock: 1, normNumGroups: 2, sampleSize: 8)

  private func make(_ configuration: AutoencoderKL.Configuration) throws -> (AutoencoderKL, WeightStore) {
    let store = WeightStore(.random(Generator(seed: 0)))
    return (try AutoencoderKL(configuration, store.root), store)
  }

  @Test("normalising and back, by scale, by shift and by the statistics of channels")
  func normalization() throws {
    var shifted = Self.small
    shifted.shiftFactor = 0.25
    var statistics = Self.small
    (statistics.latentsMean, statistics.latentsStd) = ([0, 1, 2, 3], [1, 2, 4, 8])
    let latents = Tensor.full([1, 4, 1, 1], 3.0)
    // diffusers: train_dreambooth_lora_sdxl.py (statistics), pipeline_flux.py (shift)
    for (configuration, expected, deviations) in [
      (Self.small, [3.0, 3, 3, 3], [1.0, 1, 1, 1]), (shifted, [2.75, 2.75, 2.75, 2.75], [1, 1, 1, 1]),
      (statistics, [3, 1, 0.25, 0], [1, 0.5, 0.25, 0.125]),
    ] {
      let (vae, _) = try make(configuration)
      func expectEqual(_ found: Tensor, _ expected: [Double]) {
        let wanted = Tensor(expected.map { Float($0 * 0.13025) }, shape: [1, 4, 1, 1])
        let error = (found - wanted).abs().max().item()
        #expect(error < 1e-6, "\(error)")
      }
      let normalized = vae.normalized(latents)
      expectEqual(normalized, expected)
      #expect((vae.denormalized(normalized) - latents).abs().max().item() < 1e-6)
      let deviation = vae.normalizedDeviation(.ones([1, 4, 1, 1]))
      expectEqual(deviation, deviations)
      // Of mean and deviation come the latents that diffusers draws and then normalises.
      let noise = Tensor.randn([1, 4, 1, 1], generator: Generator(seed: 4))
      let error = (normalized + deviation * noise - vae.normalized(latents + noise)).abs().max().item()
      #expect(error < 1e-6, "\(error)")
    }
  }

  @Test("drawn latents are mean + deviation · noise of the generator, and the log-variance is bounded")
  func distribution() {
    let moments = Tensor([1, 2, -50, 50].map(Float.init), shape: [1, 4, 1, 1])
    let distribution = DiagonalGaussianDistribution(moments: moments)
    #expect(distribution.logVariance.floats() == [-30, 20])
    let noise = Tensor.randn([1, 2, 1, 1], generator: Generator(seed: 9))
    #expect(distribution.sample(Generator(seed: 9)).equals(distribution.sample(noise: noise)))
    #expect(distribution.mode.floats() == [1, 2])
  }

  @Test("without attention and without the 1×1 convolutions there are no such weights")
  func optionalParts() throws {
    var configuration = Self.small
    configuration.midBlockAddAttention = false
    configuration.useQuantConv = false
    configuration.usePostQuantConv = false
    let (vae, store) = try make(configuration)
    #expect(!store.parameters.keys.contains { $0.contains("attentions") || $0.contains("quant_conv") })
    let picture = Tensor.randn([1, 3, 8, 6], generator: Generator(seed: 1))
    #expect(vae.decode(vae.encode(picture).mode).shape == picture.shape)
    let (_, whole) = try make(Self.small)
    #expect(whole.parameters.count == store.parameters.count + 2 * 10 + 4)
  }
}
