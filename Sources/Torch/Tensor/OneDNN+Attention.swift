extension OneDNN {
  /// softmax(q kᵀ / √width) v in blocks, with products at the rate of matrices and scores in float32; nil where libtorch's own
  /// attention is the better choice. With gradients in bfloat16 only.
  ///
  /// - Parameters: q [N, heads, L, width], k and v [N, heads, S, width].
  static func attention(_ query: Tensor, _ key: Tensor, _ value: Tensor) -> Tensor? {
    let inputs = [query, key, value]
    let asksForGradient = isGradEnabled && inputs.contains(where: \.requiresGrad)
    guard query.rank == 4, let arithmetic = arithmetic(of: inputs) else { return nil }
    guard arithmetic == query.dtype else {
      // Keeps the inputs as they are for the backward pass, and not what is made of them at twice their size.
      return checkpointed(inputs) { inputs in
        let wide = inputs.map { $0.to(dtype: arithmetic) }
        return Tensor.attention(wide[0], wide[1], wide[2]).to(dtype: inputs[0].dtype)
      }
    }
    let attention = BlockedAttention(query: query, key: key, value: value)
    guard attention.isWorthwhile(withGradient: asksForGradient) else { return nil }
    guard asksForGradient else { return attention.output() }
    return attaching(withoutGrad(attention.output), to: inputs, backward: attention.gradients)
  }
}

/// Attention of a few heads, or of a few queries of one, at a time. The backward pass forms the scores again.
private struct BlockedAttention {
  let query: Tensor
  let key: Tensor
  let value: Tensor

  private var isBfloat16: Bool { query.dtype == .bfloat16 }
  private var scale: Double { 1 / Double(query.dim(3)).squareRoot() }

  /// Products of float32 are made head by head, and for short ones there are too many of them.
  func isWorthwhile(withGradient: Bool) -> Bool {
    let ofHead = query.dim(2) * key.dim(2) * query.dim(3)
    return isBfloat16 ? query.dim(1) * ofHead >= 1 << 23 : !withGradient && ofHead >= 1 << 22
  }

  // MARK: blocks

  /// Heads of one picture.
  private struct Group {
    let picture: Int
    let heads: Range<Int>

    /// Of a tensor [N, heads, ...].
    func view(of tensor: Tensor) -> Tensor { tensor[picture][heads] }

    /// In an order that products take without copying it.
    func part(of tensor: Tensor) -> Tensor { view(of: tensor).contiguous() }
  }

  private var groups: [Group] {
    let ofHead = query.dim(2) * key.dim(2)
    let count = isBfloat16 && ofHead < 1 << 20 ? (1 << 21) / ofHead : 1
    return (0..<query.dim(0)).flatMap { picture in
      stride(from: 0, to: query.dim(1), by: count).map { first in
        Group(picture: picture, heads: first..<Swift.min(first + count, query.dim(1)))
      }
    }
  }

  /// The queries of a group in parts, of which there is one where it has several heads. Their scores stay in the cache.
  private func blocks(of group: Group) -> [Range<Int>] {
    let length = query.dim(2)
    let count = group.heads.count > 1 ? length : Swift.max(64, (isBfloat16 ? 1 << 20 : 1 << 21) / key.dim(2))
    return stride(from: 0, to: length, by: count).map { $0..<Swift.min($0 + count, length) }
  }

  // MARK: passes

  /// [N, heads, L, width], in memory as [N, L, heads, width], which is what the next layer reads.
  func output() -> Tensor {
    let output = Self.empty(like: query)
    for group in groups {
      let (queries, keys, values) = (group.part(of: query), prepared(group.part(of: key)), group.part(of: value))
      for block in blocks(of: group) {
        let attended = product(probabilities(queries.narrow(1, block), keys), values)
        group.view(of: output).narrow(1, block).copyInPlace(attended)
      }
    }
    return output
  }

  /// Of q, k and v, for that of the output.
  func gradients(of gradient: Tensor) -> [Tensor?] {
    let results = [query, key, value].map(Self.empty)
    for group in groups {
      let (queries, keys, values) = (group.part(of: query), group.part(of: key), group.part(of: value))
      let (preparedKeys, gradients) = (prepared(keys), group.part(of: gradient))
      var ofKeys = Sum()
      var ofValues = Sum()
      for block in blocks(of: group) {
        let (ownQueries, ownGradients) = (queries.narrow(1, block), gradients.narrow(1, block))
        let weights = probabilities(ownQueries, preparedKeys)
        let ofScores = weights.softmaxGradient(ownGradients.matmul(values.transposed()))
        group.view(of: results[0]).narrow(1, block).copyInPlace(ofScores.batchedProduct(keys, scale: scale))
        ofKeys.add(ofScores.transposed().batchedProduct(ownQueries, scale: scale))
        ofValues.add(weights.transposed().matmul(ownGradients))
      }
      group.view(of: results[1]).copyInPlace(ofKeys.total!)
      group.view(of: results[2]).copyInPlace(ofValues.total!)
    }
    return results
  }

  private static func empty(like tensor: Tensor) -> Tensor {
    Tensor.empty([tensor.dim(0), tensor.dim(2), tensor.dim(1), tensor.dim(3)], dtype: tensor.dtype).transposed(1, 2)
  }

  /// In float32 once there are several.
  private struct Sum {
    private(set) var total: Tensor?

    mutating func add(_ part: Tensor) {
      guard let former = total else { return total = part }
      let sum = former.to(dtype: .float32)
      sum.addInPlace(part)
      total = sum
    }
  }

  // MARK: products

  /// What `probabilities` takes of keys [heads, S, width].
  private func prepared(_ keys: Tensor) -> Tensor {
    keys.dim(0) == 1 ? keys[0].to(dtype: .float32).contiguous() : keys
  }

  /// softmax(q kᵀ / √width) [heads, L, S] of queries [heads, L, width].
  ///
  /// Scores of one head are a product in float32. Those of several are one in bfloat16, which would round them, and a second one that
  /// gives what the first has lost, so that the error is that of a product in float32.
  private func probabilities(_ queries: Tensor, _ keys: Tensor) -> Tensor {
    let scores: Tensor
    if queries.dim(0) == 1 {
      scores = (queries[0].to(dtype: .float32) * scale).contiguous().linear(keys).unsqueezed(0)
    } else {
      let rounded = queries.batchedProduct(keys.transposed(), scale: scale)
      scores = rounded.to(dtype: .float32)
      rounded.becomeRemainder(ofBatchedProduct: queries, keys.transposed(), scale: scale)
      scores.addInPlace(rounded)
    }
    return scores.softmax(-1).to(dtype: query.dtype)
  }

  /// Of probabilities [heads, L, S] with values [heads, S, width].
  private func product(_ probabilities: Tensor, _ values: Tensor) -> Tensor {
    isBfloat16 ? probabilities.matmul(values) : probabilities[0].linear(values[0].transposed()).unsqueezed(0)
  }
}
