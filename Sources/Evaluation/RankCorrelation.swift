/// Spearman's rank correlation: whether two scores of the same pictures put them in the same order, 1 where they do, −1 where they
/// say the opposite. Equal values share the mean of their ranks.
///
/// - Returns: nil where one of them is the same for all.
public func rankCorrelation(_ first: [Double], _ second: [Double]) -> Double? {
  precondition(first.count == second.count, "\(first.count) and \(second.count) values")
  let (a, b) = (ranks(first), ranks(second))
  let middle = Double(first.count + 1) / 2
  func product(_ x: [Double], _ y: [Double]) -> Double { zip(x, y).reduce(0) { $0 + ($1.0 - middle) * ($1.1 - middle) } }
  let spread = (product(a, a) * product(b, b)).squareRoot()
  return spread > 0 ? product(a, b) / spread : nil
}

/// From 1 on.
private func ranks(_ values: [Double]) -> [Double] {
  let order = values.indices.sorted { (values[$0], $0) < (values[$1], $1) }
  var ranks = Array(repeating: 0.0, count: values.count)
  var start = 0
  while start < order.count {
    let end = order[start...].firstIndex { values[$0] != values[order[start]] } ?? order.count
    for place in start..<end { ranks[order[place]] = Double(start + end + 1) / 2 }
    start = end
  }
  return ranks
}
