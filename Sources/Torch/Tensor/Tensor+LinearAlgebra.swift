extension Tensor {
  /// Matrix product over the last two axes, batched over the others.
  public func matmul(_ other: Tensor) -> Tensor {
    OneDNN.widening([self, other]) { $0[0].matmul($0[1]) } ?? call(Ops.matmul, .tensor(self), .tensor(other))
  }

  /// selfᵀ · self [n, n] of a tall matrix [m, n]: a triangle of blocks and its mirror image, which of a wide one takes two thirds
  /// of the time.
  package func gram() -> Tensor {
    let width = dim(1)
    let strips = width < 128 ? 1 : width < 512 ? 2 : 4
    let bounds = (0...strips).map { $0 * width / strips }
    let result = Tensor.empty([width, width], dtype: dtype, device: device)
    for (start, end) in zip(bounds, bounds.dropFirst()) {
      let block = narrow(1, start..<end).transposed().matmul(narrow(1, 0..<end))
      result.narrow(0, start..<end).narrow(1, 0..<end).copyInPlace(block)
      if start > 0 { result.narrow(0, 0..<start).narrow(1, start..<end).copyInPlace(block.narrow(1, 0..<start).transposed()) }
    }
    return result
  }

  /// scale · self [n, a, b] · other [n, b, c], rounded once.
  func batchedProduct(_ other: Tensor, scale: Double) -> Tensor {
    let nothing = Tensor.zeros([1], dtype: dtype, device: device).expanded([dim(0), dim(1), other.dim(2)])
    return call(Ops.batchedProduct, .tensor(nothing), .tensor(self), .tensor(other), .double(0), .double(scale))
  }

  /// scale · a [n, b, c] · b [n, c, d] less the receiver [n, b, d], which is that product as it was rounded: what it has lost.
  func becomeRemainder(ofBatchedProduct a: Tensor, _ b: Tensor, scale: Double) {
    callInPlace(Ops.batchedProductInPlace, .tensor(self), .tensor(a), .tensor(b), .double(-1), .double(scale))
  }

  /// Thin QR: [m, n] = Q [m, k] · R [k, n], k = min(m, n).
  public func qr() -> (q: Tensor, r: Tensor) {
    let results = callMany(Ops.qr, .tensor(self), .string("reduced"), capacity: 2)
    return (results[0], results[1])
  }

  /// Thin SVD: [m, n] = U [m, k] · diag(S [k]) · Vh [k, n], singular values in descending order.
  public func svd() -> (u: Tensor, s: Tensor, vh: Tensor) {
    let results = callMany(Ops.svd, .tensor(self), .bool(false), capacity: 3)
    return (results[0], results[1], results[2])
  }

  /// Eigenvalues [n] of a symmetric matrix in ascending order, and its eigenvectors as columns [n, n].
  public func symmetricEigen() -> (values: Tensor, vectors: Tensor) {
    let results = callMany(Ops.eigh, .tensor(self), capacity: 2)
    return (results[0], results[1])
  }

  /// The lower Cholesky factor of a symmetric positive definite matrix.
  public func cholesky() -> Tensor { call(Ops.cholesky, .tensor(self)) }

  /// The diagonal [n] of a square matrix.
  public func diagonal() -> Tensor { call(Ops.diagonal, .tensor(self)) }

  /// X [n, m] with self [n, n] · X = other [n, m], of an upper or lower triangular matrix.
  public func solveTriangular(_ other: Tensor, upper: Bool) -> Tensor {
    call(Ops.solveTriangular, .tensor(self), .tensor(other), .bool(upper), .bool(true), .bool(false))
  }
}
