internal import LayerNames
internal import OrderedCollections
internal import Torch

/// The tensors of one part of an original checkpoint under the names that its model asks for.
///
/// Names are mapped when it is made; a tensor is cut or turned when it is asked for, so that never more than one is in memory
/// beside the model.
final class OriginalTensors: TensorCollection {
  private let file: SafeTensorsCollection
  /// The model's names, and where the file has them.
  private let places: OrderedDictionary<String, OriginalParameter>
  let expectation: String
  let keys: [String]

  /// - Parameters:
  ///   - prefix: what the names of the part's tensors begin with.
  ///   - parameters: the model's.
  ///   - place: where the file has a parameter, without the prefix.
  ///   - isSpare: whether a tensor of the part is no weight of the model, though it belongs there.
  init(
    _ file: SafeTensorsCollection, prefix: String, expectation: String, parameters: [String],
    place: (String) -> OriginalParameter?, isSpare: (String) -> Bool
  ) {
    self.file = file
    self.expectation = expectation
    places = OrderedDictionary(
      uniqueKeysWithValues: parameters.compactMap { name in
        place(name).map { (name, OriginalParameter(prefix + $0.key, $0.form)) }
      })
    let used = Set(places.values.map(\.key))
    // Tensors without a place keep their names, to be reported as not used.
    let others = file.keys.filter { key in
      key.hasPrefix(prefix) && !used.contains(key) && !isSpare(String(key.dropFirst(prefix.count)))
    }
    keys = places.filter { file.shape(of: $0.value.key) != nil }.keys + others
  }

  var name: String { file.name }
  func nameInFile(_ key: String) -> String { places[key]?.key ?? key }
  func release(_ key: String) { file.release(nameInFile(key)) }

  func shape(of key: String) -> [Int]? {
    guard let place = places[key], let shape = file.shape(of: place.key) else { return nil }
    // A shape that cannot be what it should be is reported as it is.
    return switch place.form {
    case .third where shape.first.map { $0 % 3 == 0 } == true: [shape[0] / 3] + shape.dropFirst()
    case .transposed: shape.reversed()
    case .pointwise where shape.dropFirst(2).allSatisfy { $0 == 1 }: Array(shape.prefix(2))
    default: shape
    }
  }

  func tensor(_ key: String) throws -> Tensor {
    let tensor = try file.tensor(nameInFile(key))
    switch places[key]?.form {
    case .third(let index): return tensor.narrow(0, from: index * (tensor.dim(0) / 3), count: tensor.dim(0) / 3)
    case .transposed: return tensor.transposed(0, 1).contiguous()
    case .pointwise: return tensor.reshaped(Array(tensor.shape.prefix(2)))
    case .same, nil: return tensor
    }
  }
}
