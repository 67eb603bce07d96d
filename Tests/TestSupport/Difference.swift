public import Torch

/// The largest absolute difference in relation to the largest element of the reference; infinite for other shapes and where
/// there are no numbers.
public func difference(_ found: Tensor, _ reference: Tensor) -> Double {
  guard found.shape == reference.shape else { return .infinity }
  let size = reference.abs().max().item()
  let largest = (found.to(dtype: .float64) - reference.to(dtype: .float64)).abs().max().item()
  let relative = size == 0 ? largest : largest / size
  return relative.isNaN ? .infinity : relative
}
