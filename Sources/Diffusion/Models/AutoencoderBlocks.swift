internal import Torch

/// Single-head attention over the pixels of a feature map, with a group norm before and a shortcut around it
/// (diffusers: models/attention_processor.py Attention with residual_connection).
private final class PixelAttention {
  let groupNorm: GroupNorm
  let attention: Attention

  init(_ weights: Weights, channels: Int, groups: Int) {
    groupNorm = GroupNorm(weights / "group_norm", groups: groups, channels: channels, epsilon: 1e-6)
    attention = Attention(weights, width: channels, context: channels, heads: 1, bias: true)
  }

  /// x [N, C, H, W] → the same shape
  func callAsFunction(_ x: Tensor) -> Tensor {
    let pixels = groupNorm(x.flattened(from: 2)).transposed(1, 2)  // [N, HW, C]
    return attention(pixels).transposed(-1, -2).reshaped(x.shape) + x
  }
}

/// Two residual blocks with attention between (diffusers: models/unets/unet_2d_blocks.py UNetMidBlock2D).
private final class AutoencoderMidBlock {
  let first: ResnetBlock2D
  let attention: PixelAttention?
  let second: ResnetBlock2D

  init(_ weights: Weights, _ configuration: AutoencoderKL.Configuration) {
    let channels = configuration.blockOutChannels[configuration.blockOutChannels.count - 1]
    first = configuration.resnet(weights / "resnets" / 0, channels, channels)
    attention =
      configuration.midBlockAddAttention
      ? PixelAttention(weights / "attentions" / 0, channels: channels, groups: configuration.normNumGroups) : nil
    second = configuration.resnet(weights / "resnets" / 1, channels, channels)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let hidden = first(x)
    return second(attention?(hidden) ?? hidden)
  }
}

/// From pictures to moments of latents (diffusers: models/autoencoders/vae.py Encoder).
final class AutoencoderEncoder {
  /// diffusers: models/unets/unet_2d_blocks.py DownEncoderBlock2D
  private struct Block {
    let resnets: [ResnetBlock2D]
    let downsampler: Downsample2D?
  }

  private let convIn: Conv2d
  private let blocks: [Block]
  private let midBlock: AutoencoderMidBlock
  private let convNormOut: GroupNorm
  private let convOut: Conv2d

  init(_ weights: Weights, _ configuration: AutoencoderKL.Configuration) {
    let channels = configuration.blockOutChannels
    let last = channels.count - 1
    convIn = Conv2d(weights / "conv_in", configuration.inChannels, channels[0], kernel: 3, padding: 1)
    blocks = channels.indices.map { index in
      let weights = weights / "down_blocks" / index
      let resnets = (0..<configuration.layersPerBlock).map { layer in
        let inputs = layer == 0 ? channels[max(index - 1, 0)] : channels[index]
        return configuration.resnet(weights / "resnets" / layer, inputs, channels[index])
      }
      let sampler = weights / "downsamplers" / 0
      return Block(
        resnets: resnets,
        downsampler: index < last ? Downsample2D(sampler, channels: channels[index], padding: 0) : nil)
    }
    midBlock = AutoencoderMidBlock(weights / "mid_block", configuration)
    convNormOut = GroupNorm(
      weights / "conv_norm_out", groups: configuration.normNumGroups, channels: channels[last], epsilon: 1e-6)
    convOut = Conv2d(weights / "conv_out", channels[last], 2 * configuration.latentChannels, kernel: 3, padding: 1)
  }

  /// [N, inChannels, H, W] → [N, 2 · latentChannels, h, w]
  func callAsFunction(_ pictures: Tensor) -> Tensor {
    var hidden = convIn(pictures)
    for block in blocks {
      hidden = block.resnets.reduce(hidden) { $1($0) }
      hidden = block.downsampler?(hidden) ?? hidden
    }
    return convOut(convNormOut(midBlock(hidden)).silu())
  }
}

/// From latents to pictures (diffusers: models/autoencoders/vae.py Decoder). One layer a block more than the encoder.
final class AutoencoderDecoder {
  /// diffusers: models/unets/unet_2d_blocks.py UpDecoderBlock2D
  private struct Block {
    let resnets: [ResnetBlock2D]
    let upsampler: Upsample2D?
  }

  private let convIn: Conv2d
  private let midBlock: AutoencoderMidBlock
  private let blocks: [Block]
  private let convNormOut: GroupNorm
  private let convOut: Conv2d

  init(_ weights: Weights, _ configuration: AutoencoderKL.Configuration) {
    let channels = Array(configuration.blockOutChannels.reversed())
    let last = channels.count - 1
    convIn = Conv2d(weights / "conv_in", configuration.latentChannels, channels[0], kernel: 3, padding: 1)
    midBlock = AutoencoderMidBlock(weights / "mid_block", configuration)
    blocks = channels.indices.map { index in
      let weights = weights / "up_blocks" / index
      let resnets = (0...configuration.layersPerBlock).map { layer in
        let inputs = layer == 0 ? channels[max(index - 1, 0)] : channels[index]
        return configuration.resnet(weights / "resnets" / layer, inputs, channels[index])
      }
      return Block(
        resnets: resnets,
        upsampler: index < last ? Upsample2D(weights / "upsamplers" / 0, channels: channels[index]) : nil)
    }
    convNormOut = GroupNorm(
      weights / "conv_norm_out", groups: configuration.normNumGroups, channels: channels[last], epsilon: 1e-6)
    convOut = Conv2d(weights / "conv_out", channels[last], configuration.outChannels, kernel: 3, padding: 1)
  }

  /// [N, latentChannels, h, w] → [N, outChannels, H, W]
  func callAsFunction(_ latents: Tensor) -> Tensor {
    var hidden = midBlock(convIn(latents))
    for block in blocks {
      hidden = block.resnets.reduce(hidden) { $1($0) }
      hidden = block.upsampler?(hidden) ?? hidden
    }
    return convOut(convNormOut(hidden).silu())
  }
}

extension AutoencoderKL.Configuration {
  fileprivate func resnet(_ weights: Weights, _ inputs: Int, _ outputs: Int) -> ResnetBlock2D {
    ResnetBlock2D(weights, inputs, outputs, timeWidth: nil, groups: normNumGroups, epsilon: 1e-6)
  }
}
