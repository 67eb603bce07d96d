import Foundation
import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// The layers of two adapters are the same and change the weights alike.
func expectSameDeltas(
  _ found: Adapter, _ reference: Adapter, within tolerance: Double, sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(Set(found.factors.keys) == Set(reference.factors.keys), sourceLocation: sourceLocation)
  for (path, factors) in found.factors {
    guard let other = reference.factors[path] else { continue }
    #expect(
      difference(factors.delta(dtype: .float64), other.delta(dtype: .float64)) <= tolerance, "\(path)",
      sourceLocation: sourceLocation)
  }
}

/// The shape of a UNet's tree: how many transformer blocks each attention of a resolution has.
struct UNetTree {
  var depths: [Int]
  var middle: Int
  var crossAttention: Int
  var isXL: Bool

  /// SDXL's tree with thin layers (diffusers: stable-diffusion-xl-base-1.0 unet/config.json).
  static let stableDiffusionXL = UNetTree(depths: [0, 2, 10], middle: 10, crossAttention: 2048, isXL: true)
  /// SD 1.5's, where proj_in and proj_out are convolutions.
  static let stableDiffusion1 = UNetTree(depths: [1, 1, 1, 0], middle: 1, crossAttention: 768, isXL: false)

  /// Every linear and convolution layer with the shape of its weight.
  var layers: OrderedDictionary<String, [Int]> {
    var shapes: OrderedDictionary<String, [Int]> = ["conv_in": [4, 4, 3, 3]]
    for name in ["time_embedding"] + (isXL ? ["add_embedding"] : []) {
      shapes["\(name).linear_1"] = [8, 4]
      shapes["\(name).linear_2"] = [8, 8]
    }
    for (block, depth) in depths.enumerated() {
      let path = "down_blocks.\(block)"
      for layer in 0..<2 { add("\(path).attentions.\(layer)", "\(path).resnets.\(layer)", depth, to: &shapes) }
      if block + 1 < depths.count { shapes["\(path).downsamplers.0.conv"] = [4, 4, 3, 3] }
    }
    add("mid_block.attentions.0", "mid_block.resnets.0", middle, to: &shapes)
    resnet("mid_block.resnets.1", to: &shapes)
    for (block, depth) in depths.reversed().enumerated() {
      let path = "up_blocks.\(block)"
      for layer in 0..<3 { add("\(path).attentions.\(layer)", "\(path).resnets.\(layer)", depth, to: &shapes) }
      if block + 1 < depths.count { shapes["\(path).upsamplers.0.conv"] = [4, 4, 3, 3] }
    }
    shapes["conv_out"] = [4, 4, 3, 3]
    return shapes
  }

  private func resnet(_ path: String, to shapes: inout OrderedDictionary<String, [Int]>) {
    shapes["\(path).conv1"] = [4, 4, 3, 3]
    shapes["\(path).time_emb_proj"] = [4, 8]
    shapes["\(path).conv2"] = [4, 4, 3, 3]
    shapes["\(path).conv_shortcut"] = [4, 4, 1, 1]
  }

  private func add(
    _ transformer: String, _ residual: String, _ depth: Int, to shapes: inout OrderedDictionary<String, [Int]>
  ) {
    resnet(residual, to: &shapes)
    guard depth > 0 else { return }
    let ones = isXL ? [] : [1, 1]
    shapes["\(transformer).proj_in"] = [4, 4] + ones
    for block in 0..<depth {
      let path = "\(transformer).transformer_blocks.\(block)"
      for name in ["attn1", "attn2"] {
        let inputs = name == "attn1" ? 4 : crossAttention
        shapes["\(path).\(name).to_q"] = [4, 4]
        shapes["\(path).\(name).to_k"] = [4, inputs]
        shapes["\(path).\(name).to_v"] = [4, inputs]
        shapes["\(path).\(name).to_out.0"] = [4, 4]
      }
      shapes["\(path).ff.net.0.proj"] = [16, 4]
      shapes["\(path).ff.net.2"] = [4, 8]
    }
    shapes["\(transformer).proj_out"] = [4, 4] + ones
  }
}

/// Every linear layer of a CLIP text model of so many layers.
func textEncoder(layers: Int) -> OrderedDictionary<String, [Int]> {
  var shapes: OrderedDictionary<String, [Int]> = [:]
  for layer in 0..<layers {
    let path = "text_model.encoder.layers.\(layer)"
    for name in ["q_proj", "k_proj", "v_proj", "out_proj"] { shapes["\(path).self_attn.\(name)"] = [4, 4] }
    shapes["\(path).mlp.fc1"] = [8, 4]
    shapes["\(path).mlp.fc2"] = [4, 8]
  }
  return shapes
}

extension ModuleNames {
  static let stableDiffusionXL = ModuleNames(
    components: [
      (.unet, UNetTree.stableDiffusionXL.layers), (.textEncoder, textEncoder(layers: 12)),
      (.textEncoder2, textEncoder(layers: 32)),
    ])

  static let stableDiffusion1 = ModuleNames(
    components: [(.unet, UNetTree.stableDiffusion1.layers), (.textEncoder, textEncoder(layers: 12))])

  /// The layers of a diffusers folder's models, by the keys of their checkpoints.
  static func golden(_ pipeline: String) throws -> ModuleNames {
    let files: [(Component, String)] = [
      (.unet, "unet/diffusion_pytorch_model"), (.textEncoder, "text_encoder/model"),
      (.textEncoder2, "text_encoder_2/model"),
    ]
    return ModuleNames(
      components: try files.map { component, file in
        let checkpoint = try SafeTensorsCollection(path: "\(goldens)/pipelines/\(pipeline)/\(file).safetensors")
        let weights = checkpoint.keys.sorted().filter { key in
          key.hasSuffix(".weight") && !key.contains("_embedding.weight") && checkpoint.shape(of: key)!.count >= 2
        }
        return (
          component, OrderedDictionary(uniqueKeysWithValues: weights.map { (String($0.dropLast(7)), checkpoint.shape(of: $0)!) })
        )
      })
  }

  private init(components: [(Component, OrderedDictionary<String, [Int]>)]) {
    var shapes: OrderedDictionary<String, [Int]> = [:]
    for (component, layers) in components { for (path, shape) in layers { shapes[component.path(path)] = shape } }
    self.init(shapes)
  }
}

/// An adapter of random numbers; ranks and alphas go round through the lists.
func randomAdapter(
  _ paths: [String], of base: ModuleNames, ranks: [Int] = [2], alphas: [Double] = [2], seed: UInt64 = 0
) -> Adapter {
  let generator = Generator(seed: seed)
  var factors: OrderedDictionary<String, LowRankFactors> = [:]
  for (index, path) in paths.enumerated() {
    let shape = base.shapes[path]!
    let rank = ranks[index % ranks.count]
    factors[path] = LowRankFactors(
      down: Tensor.randn([rank] + shape.dropFirst(), generator: generator),
      up: Tensor.randn([shape[0], rank] + shape.dropFirst(2).map { _ in 1 }, generator: generator),
      alpha: alphas[index % alphas.count])
  }
  return Adapter(factors: factors)
}

/// The sequence of keys of a safetensors file.
func keys(of path: String) throws -> [String] { try SafeTensorsCollection(path: path).keys.sorted() }
