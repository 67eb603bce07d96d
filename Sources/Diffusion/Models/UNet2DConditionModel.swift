public import Torch

/// The U-Net of Stable Diffusion 1, 2 and XL: predicts the noise (or velocity) in a latent picture from the picture, the
/// timestep and the text (diffusers: models/unets/unet_2d_condition.py UNet2DConditionModel).
///
/// Paths of weights are the keys of diffusers' checkpoints.
public final class UNet2DConditionModel {
  public typealias PieceWatcher = (_ piece: UNetPiece, _ run: () -> Tensor) -> Tensor

  public let configuration: Configuration
  public var checkpointing = GradientCheckpointing.none
  /// Is given each piece and how to run it, for measurements.
  public var watcher: PieceWatcher?

  /// Of its weights.
  public var dtype: DType { convIn.dtype }
  public var device: Device { convIn.device }

  private let convIn: Conv2d
  private let timeProj: Timesteps
  private let timeEmbedding: TimestepEmbedding
  /// Sinusoids of sizes and crops, and the layers for them and the pooled text (SDXL).
  private let addition: (timeProj: Timesteps, embedding: TimestepEmbedding)?
  private let downBlocks: [UNetDownBlock]
  private let midBlock: UNetMidBlock?
  private let upBlocks: [UNetUpBlock]
  private let convNormOut: GroupNorm
  private let convOut: Conv2d

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    let plan = try configuration.plan()
    let channels = configuration.blockOutChannels
    let timeWidth = 4 * channels[0]
    func sinusoids(_ channels: Int) -> Timesteps {
      Timesteps(
        channels: channels, flipSinToCos: configuration.flipSinToCos,
        downscaleFreqShift: Double(configuration.freqShift))
    }
    func blockSettings(_ index: Int, crossAttention: Bool) -> UNetBlockSettings {
      UNetBlockSettings(
        timeWidth: timeWidth, groups: configuration.normNumGroups, epsilon: configuration.normEps,
        transformer: crossAttention ? plan[index].transformer : nil)
    }

    self.configuration = configuration
    convIn = Conv2d(weights / "conv_in", configuration.inChannels, channels[0], kernel: 3, padding: 1)
    timeProj = sinusoids(channels[0])
    timeEmbedding = TimestepEmbedding(weights / "time_embedding", inputs: channels[0], width: timeWidth)
    addition = try configuration.additionWidths().map { each, inputs in
      (sinusoids(each), TimestepEmbedding(weights / "add_embedding", inputs: inputs, width: timeWidth))
    }
    let last = channels.count - 1
    downBlocks = configuration.downBlockTypes.enumerated().map { index, type in
      UNetDownBlock(
        weights / "down_blocks" / index, channels[max(index - 1, 0)], channels[index], layers: plan[index].layers,
        downsamplePadding: index == last ? nil : configuration.downsamplePadding,
        blockSettings(index, crossAttention: type == .crossAttnDownBlock2D))
    }
    midBlock = configuration.midBlockType.map { type in
      UNetMidBlock(
        weights / "mid_block", channels: channels[last],
        blockSettings(last, crossAttention: type == .unetMidBlock2DCrossAttn))
    }
    upBlocks = configuration.upBlockTypes.enumerated().map { index, type in
      let level = last - index  // up blocks count from the lowest resolution
      return UNetUpBlock(
        weights / "up_blocks" / index, previous: channels[min(level + 1, last)], skip: channels[max(level - 1, 0)],
        channels[level], layers: plan[level].layers + 1, upsamples: level > 0,
        blockSettings(level, crossAttention: type == .crossAttnUpBlock2D))
    }
    convNormOut = GroupNorm(
      weights / "conv_norm_out", groups: configuration.normNumGroups, channels: channels[0],
      epsilon: configuration.normEps)
    convOut = Conv2d(weights / "conv_out", channels[0], configuration.outChannels, kernel: 3, padding: 1)
  }

  /// Predicts noise or velocity.
  ///
  /// - Parameters:
  ///   - sample: noisy latents [N, inChannels, H, W] of any size.
  ///   - timestep: [N]
  ///   - encoderHiddenStates: text states [N, S, crossAttentionDim]
  ///   - addedConditions: pooled text [N, P] and original size, crop and target size [N, 6]; required by, and only by,
  ///     models with the addition embedding `text_time` (SDXL).
  /// - Returns: [N, outChannels, H, W]
  public func callAsFunction(
    sample: Tensor, timestep: Tensor, encoderHiddenStates: Tensor,
    addedConditions: (textEmbeds: Tensor, timeIds: Tensor)? = nil
  ) -> Tensor {
    let conditions = UNetConditions(
      timeEmbedding: embedding(of: timestep, addedConditions, dtype: sample.dtype),
      encoderHiddenStates: encoderHiddenStates, pieces: UNetPieces(checkpointing, watcher))

    var hidden = convIn(configuration.centerInputSample ? sample * 2 - 1 : sample)
    var skips = [hidden]
    for block in downBlocks {
      let results = block(hidden, conditions)
      skips += results
      hidden = results[results.count - 1]
    }
    hidden = midBlock?(hidden, conditions) ?? hidden
    for block in upBlocks {
      let taken = skips.suffix(block.skipCount)
      skips.removeLast(block.skipCount)
      hidden = block(hidden, skips: taken, next: skips.last, conditions)
    }
    return convOut(convNormOut(hidden).silu())
  }

  /// The time embedding [N, 4 · blockOutChannels[0]] with what is added to it. Sinusoids are computed in float32 and
  /// continue in the type of the picture.
  private func embedding(
    of timestep: Tensor, _ addedConditions: (textEmbeds: Tensor, timeIds: Tensor)?, dtype: DType
  ) -> Tensor {
    let time = timeEmbedding(timeProj(timestep).to(dtype: dtype))
    precondition((addition == nil) == (addedConditions == nil), "text_time embeddings need, and only they need, conditions")
    guard let addition, let (textEmbeds, timeIds) = addedConditions else { return time }
    let sizes = addition.timeProj(timeIds.flattened()).reshaped(textEmbeds.dim(0), -1)  // [N, 6 · additionTimeEmbedDim]
    let added = Tensor.concatenated([textEmbeds, sizes], along: -1).to(dtype: time.dtype)
    return time + addition.embedding(added)
  }
}
