public import OrderedCollections

/// Why adapters cannot be merged.
public enum MergeError: Error, CustomStringConvertible, Equatable {
  case tooFew(Int)
  case wrongCount(Int, method: String, roles: [String])
  case nothingShared(scope: String, shared: Int, examples: [String])
  case shapes(String, [String], [[Int]])
  case ranks(String, [String], [Int], method: String)
  case nothingLeft(method: String, expected: String)
  case noSuchOption(String, method: String, available: [String])
  /// A setting of a method or of `ZipOptions`, as the command line spells it without the dashes, that makes no sense.
  case option(String, found: String, expected: String)
  case needsProbe(String)
  case noShares
  case otherShares(String, found: Int?, OrderedDictionary<String, Int>)
  case wrongWeights(Int, inputs: [String])
  case alreadyGone(String)
  case notFinite(step: Int, learningRate: Double? = nil)
  case changesNothing(Int)
  case notCoefficients(String)

  public var description: String {
    switch self {
    case .tooFew(let count): "\(count) LoRAs to merge, expected at least 2"
    case .wrongCount(let count, let method, let roles):
      "the method \(method) merges \(roles.count) LoRAs, in the order \(roles.joined(separator: ", ")); found \(count)"
    case .nothingShared(let scope, let shared, let examples):
      shared == 0
        ? "the LoRAs have no layer in common; they change layers such as \(examples.joined(separator: " and "))"
        : "none of the \(shared) layers that the LoRAs share is in the scope \(scope); they share layers such as "
          + examples.joined(separator: " and ")
    case .shapes(let path, let names, let shapes):
      "\(path): the LoRAs are for different base models: "
        + zip(names, shapes).map { "\($0) changes a weight \($1)" }.joined(separator: ", ")
    case .ranks(let path, let names, let ranks, let method):
      "\(path): the method \(method) needs equal ranks: "
        + zip(names, ranks).map { "\($0) has \($1)" }.joined(separator: ", ") + "; use direct or svd"
    case .nothingLeft(let method, let expected):
      "the method \(method) leaves nothing of these LoRAs: it keeps \(expected)"
    case .noSuchOption(let name, let method, let available):
      "the method \(method) has no option \(name); "
        + (available.isEmpty ? "it has none" : "it has \(available.joined(separator: ", "))")
    case .option(let name, let found, let expected): "\(name) \(found): expected \(expected)"
    case .needsProbe(let method): "the method \(method) needs the base model's predictions; give it a base model"
    case .noShares:
      "its metadata (\(MergeShares.metadataKey)) does not say which ranks are whose; "
        + "only files that ziplora zip or ziplora merge --method direct wrote, and that were not resized, can be weighed anew"
    case .otherShares(let layer, nil, _):
      "\(layer): its metadata names a layer that is not there; another program or conversion has renamed or removed it"
    case .otherShares(let layer, let rank?, let expected):
      "\(layer): has rank \(rank), but its metadata says "
        + expected.map { "\($0.value) of \($0.key)" }.joined(separator: " and ") + "; the file was changed after merging"
    case .wrongWeights(let count, let inputs):
      "\(count) weights for \(inputs.count) LoRAs (\(inputs.joined(separator: ", ")))"
    case .alreadyGone(let name):
      "\(name) has weight 0 in this file, so nothing of it is left to make stronger; start from the file before that"
    case .notFinite(let step, let rate):
      "step \(step): the objective is infinite or NaN, or makes a coefficient so"
        + (rate.map { ", with learning rate \($0); lower the learning rate, or a λ that is large, or" } ?? ";")
        + " check the LoRAs and the precision (float16 overflows easily)"
    case .changesNothing(let index):
      "LoRA \(index + 1) changes nothing of what the model predicts for its pictures, so nothing of it can be reproduced; train it longer"
    case .notCoefficients(let path): "\(path): not a file of merger coefficients written by ziplora"
    }
  }
}
