internal import LoRA
internal import OrderedCollections
internal import Workflows

extension AdapterRewriting {
  /// What a person wants to know about the new file.
  var summary: String {
    var lines = files + ["\(layers) layers of \(base), \(dialects[0]) to \(dialects[1])"]
    for (form, members) in OrderedDictionary(grouping: reductions, by: \.form) {
      let ranks = members.map(\.rank)
      let worst = members.max { $0.discardedEnergy < $1.discardedEnergy }!
      lines.append(
        "\(members.count) layers (\(form)) now have rank \(Self.range(ranks)) of \(Self.range(members.map(\.exactRank))); "
          + (worst.discardedEnergy < 1e-10
            ? "the same change, to rounding"
            : "the most is lost at \(worst.layer): \(worst.discardedEnergy.percent) of the squared norm"))
    }
    if !leftOut.isEmpty { lines.append("\(leftOut.count) changes of biases, norms and embeddings are left out") }
    return lines.joined(separator: "\n")
  }

  private static func range(_ numbers: [Int]) -> String {
    let (least, most) = (numbers.min() ?? 0, numbers.max() ?? 0)
    return least == most ? "\(least)" : "\(least) to \(most)"
  }
}

extension Double {
  /// A share as a percentage.
  fileprivate var percent: String { "\((self * 100).short) %" }
}
