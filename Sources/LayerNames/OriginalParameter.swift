/// Where an original checkpoint keeps a parameter of a model.
package struct OriginalParameter: Equatable, Sendable {
  /// What to make of the tensor that is there.
  package enum Form: Equatable, Sendable {
    case same
    /// Rows 0 ..< n/3, n/3 ..< 2n/3 or 2n/3 ..< n: query, key and value in one matrix.
    case third(Int)
    case transposed
    /// A 1×1 convolution that the model has as a linear layer.
    case pointwise
  }

  package var key: String
  package var form: Form

  package init(_ key: String, _ form: Form = .same) {
    self.key = key
    self.form = form
  }
}

extension String {
  /// `a.b.weight` → `a.b` and `weight`
  var layerAndParameter: (layer: String, parameter: String) {
    guard let dot = lastIndex(of: ".") else { return ("", self) }
    return (String(self[..<dot]), String(self[index(after: dot)...]))
  }
}

extension OriginalUNetNames {
  /// Where a parameter of the UNet is; nil for one that no original checkpoint has.
  package func parameter(_ path: String) -> OriginalParameter? {
    let (layer, parameter) = path.layerAndParameter
    return self[layer].map { OriginalParameter("\($0).\(parameter)") }
  }
}
