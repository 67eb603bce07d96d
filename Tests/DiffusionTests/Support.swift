import Diffusion
import Foundation
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// A file of inputs, results, cotangents and gradients of one reference model.
struct Expectation {
  let tensors: SafeTensorsCollection

  init(_ model: String, _ file: String = "expected") throws {
    tensors = try SafeTensorsCollection(path: "\(goldens)/models/\(model)/\(file).safetensors")
  }

  /// Copies: these are made leaves and may not share the mapping of another test.
  func callAsFunction(_ key: String) throws -> Tensor { try tensors.tensor(key).cloned() }

  func input(_ name: String) throws -> Tensor {
    let input = try self("input.\(name)")
    return tensors.shape(of: "grad.input.\(name)") == nil ? input : input.requiringGrad()
  }

  /// Checks every result and gradient of the file and returns the largest difference.
  ///
  /// - Parameter leaves: by the name after `grad.`.
  func check(_ outputs: OrderedDictionary<String, Tensor>, leaves: OrderedDictionary<String, Tensor>) throws -> Double {
    let expectedOutputs = tensors.keys.filter { $0.hasPrefix("output.") }.map { String($0.dropFirst(7)) }
    #expect(Set(expectedOutputs) == Set(outputs.keys))
    let weighted = outputs.filter { tensors.shape(of: "cotangent.\($0.key)") != nil }
    let gradients = Torch.gradients(
      of: Array(weighted.values), weights: try weighted.keys.map { try self("cotangent.\($0)") },
      withRespectTo: Array(leaves.values))
    #expect(Set(tensors.keys.filter { $0.hasPrefix("grad.") }) == Set(leaves.keys.map { "grad.\($0)" }))

    var largest = 0.0
    for (name, output) in outputs { largest = max(largest, try difference(output, self("output.\(name)"))) }
    for (name, gradient) in zip(leaves.keys, gradients) {
      largest = max(largest, try difference(gradient, self("grad.\(name)")))
    }
    return largest
  }
}

extension TemporaryFolder {
  /// A copy of a folder of the goldens.
  func copy(_ golden: String) throws -> String {
    let copy = self(golden.replacing("/", with: "-"))
    try FileManager.default.copyItem(atPath: "\(goldens)/\(golden)", toPath: copy)
    return copy
  }
}

/// Named tensors in memory.
final class Tensors: TensorCollection {
  var tensors: OrderedDictionary<String, Tensor>
  let name = "tensors of a test"

  init(_ tensors: OrderedDictionary<String, Tensor>) { self.tensors = tensors }

  var keys: [String] { Array(tensors.keys) }
  func shape(of key: String) -> [Int]? { tensors[key]?.shape }
  func tensor(_ key: String) throws -> Tensor { try #require(tensors[key]) }
}

extension UNet2DConditionModel.Configuration {
  /// A small model in the form of SDXL.
  static let small = UNet2DConditionModel.Configuration(
    sampleSize: 8, blockOutChannels: [8, 12, 16], layersPerBlock: 1, normNumGroups: 4, crossAttentionDim: 20,
    transformerLayersPerBlock: [1, 1, 2], attentionHeadDim: [1, 3, 2], additionTimeEmbedDim: 4,
    projectionClassEmbeddingsInputDim: 34)
}

/// Whether two models have the same parameters, bit for bit.
func expectEqual(_ found: WeightStore?, _ expected: WeightStore?, sourceLocation: SourceLocation = #_sourceLocation) throws {
  let (found, expected) = (try #require(found), try #require(expected))
  #expect(found.parameters.keys == expected.parameters.keys, sourceLocation: sourceLocation)
  for (name, tensor) in found.parameters {
    let other = try #require(expected.parameters[name])
    #expect(tensor.equals(other) && tensor.shape == other.shape, "\(name)", sourceLocation: sourceLocation)
  }
}
