internal import Torch

/// What every block of a U-Net receives beside its feature map.
struct UNetConditions {
  /// [N, T]
  let timeEmbedding: Tensor
  /// [N, S, D]
  let encoderHiddenStates: Tensor
  let pieces: UNetPieces

  /// Runs a piece of the network, which these modules make up. `body` gets everything that gradients pass through.
  func run(
    _ modules: [String], _ inputs: [Tensor], _ body: @escaping ([Tensor], UNetConditions) -> Tensor
  ) -> Tensor {
    pieces.run(modules, inputs + [timeEmbedding, encoderHiddenStates]) { [pieces] tensors in
      let conditions = UNetConditions(
        timeEmbedding: tensors[inputs.count], encoderHiddenStates: tensors[inputs.count + 1], pieces: pieces)
      return body(Array(tensors.prefix(inputs.count)), conditions)
    }
  }
}

/// What the blocks of one resolution have in common.
struct UNetBlockSettings {
  let timeWidth: Int
  let groups: Int
  let epsilon: Double
  /// nil for blocks without transformers.
  let transformer: Transformer2DModel.Settings?

  func resnet(_ weights: Weights, _ inputs: Int, _ outputs: Int) -> ResnetBlock2D {
    ResnetBlock2D(weights, inputs, outputs, timeWidth: timeWidth, groups: groups, epsilon: epsilon)
  }

  func attention(_ weights: Weights, channels: Int) -> Transformer2DModel? {
    transformer.map { Transformer2DModel(weights, channels: channels, $0) }
  }
}

/// A residual block and, in cross-attention blocks, the transformer after it.
private struct UNetLayer {
  let resnet: ResnetBlock2D
  let attention: Transformer2DModel?
  /// Their paths.
  let modules: [String]

  init(_ weights: Weights, _ index: Int, _ inputs: Int, _ outputs: Int, _ settings: UNetBlockSettings) {
    let places = (resnet: weights / "resnets" / index, attention: weights / "attentions" / index)
    resnet = settings.resnet(places.resnet, inputs, outputs)
    attention = settings.attention(places.attention, channels: outputs)
    modules = [places.resnet.path, places.attention.path]
  }

  func callAsFunction(_ x: Tensor, _ conditions: UNetConditions) -> Tensor {
    let hidden = resnet(x, conditions.timeEmbedding)
    return attention?(hidden, conditions.encoderHiddenStates) ?? hidden
  }
}

/// Layers at one resolution, then half of it
/// (diffusers: models/unets/unet_2d_blocks.py DownBlock2D and CrossAttnDownBlock2D).
final class UNetDownBlock {
  private let layers: [UNetLayer]
  private let downsampler: Downsample2D?

  /// - Parameter downsamplePadding: nil for the last block, which keeps the resolution.
  init(
    _ weights: Weights, _ inputs: Int, _ outputs: Int, layers count: Int, downsamplePadding: Int?,
    _ settings: UNetBlockSettings
  ) {
    layers = (0..<count).map { UNetLayer(weights, $0, $0 == 0 ? inputs : outputs, outputs, settings) }
    downsampler = downsamplePadding.map {
      Downsample2D(weights / "downsamplers" / 0, channels: outputs, padding: $0)
    }
  }

  /// x [N, inputs, H, W] → the results of all layers and of the downsampler: the skips; the last one is the output.
  func callAsFunction(_ x: Tensor, _ conditions: UNetConditions) -> [Tensor] {
    var x = x
    var skips: [Tensor] = []
    for layer in layers {
      x = conditions.run(layer.modules, [x]) { layer($0[0], $1) }
      skips.append(x)
    }
    if let downsampler { skips.append(downsampler(x)) }
    return skips
  }
}

/// The layers at the lowest resolution
/// (diffusers: models/unets/unet_2d_blocks.py UNetMidBlock2DCrossAttn, and UNetMidBlock2D without attention).
final class UNetMidBlock {
  private let first: ResnetBlock2D
  /// The transformer and the residual block after it; nil without attention, when there is one residual block only.
  private let second: (attention: Transformer2DModel, resnet: ResnetBlock2D)?
  private let path: String

  init(_ weights: Weights, channels: Int, _ settings: UNetBlockSettings) {
    path = weights.path
    first = settings.resnet(weights / "resnets" / 0, channels, channels)
    second = settings.attention(weights / "attentions" / 0, channels: channels).map {
      ($0, settings.resnet(weights / "resnets" / 1, channels, channels))
    }
  }

  /// x [N, channels, H, W] → the same shape
  func callAsFunction(_ x: Tensor, _ conditions: UNetConditions) -> Tensor {
    let first = first
    let hidden = conditions.run(["\(path).resnets.0"], [x]) { first($0[0], $1.timeEmbedding) }
    guard let second else { return hidden }
    return conditions.run(["\(path).attentions.0", "\(path).resnets.1"], [hidden]) {
      second.resnet(second.attention($0[0], $1.encoderHiddenStates), $1.timeEmbedding)
    }
  }
}

/// Layers that take the skips of one resolution, then up to the next
/// (diffusers: models/unets/unet_2d_blocks.py UpBlock2D and CrossAttnUpBlock2D).
final class UNetUpBlock {
  private let layers: [UNetLayer]
  private let upsampler: Upsample2D?

  /// How many skips it takes.
  var skipCount: Int { layers.count }

  /// - Parameters:
  ///   - previous: channels of the block before.
  ///   - skip: channels of the last skip, which comes from the next higher resolution.
  ///   - upsamples: false for the last block.
  init(
    _ weights: Weights, previous: Int, skip: Int, _ outputs: Int, layers count: Int, upsamples: Bool,
    _ settings: UNetBlockSettings
  ) {
    layers = (0..<count).map { index in
      let inputs = (index == 0 ? previous : outputs) + (index == count - 1 ? skip : outputs)
      return UNetLayer(weights, index, inputs, outputs, settings)
    }
    upsampler = upsamples ? Upsample2D(weights / "upsamplers" / 0, channels: outputs) : nil
  }

  /// - Parameters:
  ///   - x: [N, previous, H, W]
  ///   - skips: as many as there are layers, the last to be taken first.
  ///   - next: the skip that the next block begins with. The output gets its size, so that sizes that the down blocks
  ///     rounded up come back as they were.
  /// - Returns: [N, outputs, H', W']
  func callAsFunction(_ x: Tensor, skips: some Collection<Tensor>, next: Tensor?, _ conditions: UNetConditions) -> Tensor {
    var x = x
    for (layer, skip) in zip(layers, skips.reversed()) {
      x = conditions.run(layer.modules, [x, skip]) { layer(Tensor.concatenated($0, along: 1), $1) }
    }
    return upsampler?(x, height: next?.dim(2), width: next?.dim(3)) ?? x
  }
}
