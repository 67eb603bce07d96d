public import LoRA
internal import OrderedCollections
public import Torch

/// The largest absolute difference in relation to the largest element of the reference; infinite for other shapes and where
/// there are no numbers, or no tensor.
public func difference(_ found: Tensor?, _ reference: Tensor?) -> Double {
  guard let found, let reference, found.shape == reference.shape else { return .infinity }
  let size = reference.abs().max().item()
  let largest = (found.to(dtype: .float64) - reference.to(dtype: .float64)).abs().max().item()
  let relative = size == 0 ? largest : largest / size
  return relative.isNaN ? .infinity : relative
}

/// The largest difference of any layer's ΔW; infinite where the layers are not the same, or none.
public func difference(_ found: Adapter, _ reference: Adapter) -> Double {
  guard Set(found.factors.keys) == Set(reference.factors.keys) else { return .infinity }
  return reference.factors.map { difference(found.delta($0, dtype: .float64), $1.delta(dtype: .float64)) }.max() ?? .infinity
}

/// The largest difference of any tensor of two files; infinite where their names are not the same, or none.
public func difference(ofFile found: String, _ reference: String) throws -> Double {
  let (found, reference) = (try SafeTensorsCollection(path: found), try SafeTensorsCollection(path: reference))
  guard found.keys == reference.keys else { return .infinity }
  return try reference.keys.map { difference(try found.tensor($0), try reference.tensor($0)) }.max() ?? .infinity
}
