internal import Foundation
internal import LoRA
internal import OrderedCollections
internal import SafeTensors
internal import Torch

/// What a run must find unchanged to go on, and the numbers that are no tensors.
private struct ZipState: Codable {
  var options: ZipOptions
  /// Of pictures, prompts and base.
  let identity: String
  let inputs: [MergeReport.Input]
  let records: [ZipRecord]

  static let format = "ziplora-state"
  static let key = "state"

  init(_ inputs: [MergeInput], _ options: ZipOptions, _ records: [ZipRecord], identity: String) {
    self.options = options
    self.identity = identity
    self.inputs = inputs.map(MergeReport.Input.init)
    self.records = records
  }

  /// - Throws: `StateError` for a file of something else.
  init(_ file: SafeTensorsCollection) throws {
    guard file.file.metadata["format"] == Self.format, let text = file.file.metadata[Self.key] else {
      throw Self.stranger(file.name)
    }
    guard let state = try? JSONDecoder().decode(ZipState.self, from: Data(text.utf8)) else {
      throw StateError(path: file.name, reason: "another version of ziplora has saved it, or it is damaged")
    }
    self = state
  }

  /// - Throws: `StateError` for a file of something else, or of a run other than the one that is asked for.
  init(_ file: SafeTensorsCollection, for asked: ZipState) throws {
    try self.init(file)
    let differences = differences(from: asked)
    guard differences.isEmpty else { throw StateError(path: file.name, reason: differences.joined(separator: "; ")) }
  }

  static func stranger(_ path: String) -> StateError {
    StateError(path: path, reason: "it is not the saved state of a zip run", remedy: .anotherFile)
  }

  /// What keeps a run with other inputs or options from being this one. More steps are no difference, unless the rate of each
  /// depends on how many there are.
  func differences(from other: ZipState) -> [String] {
    var differences: [String] = []
    var asked = other.options
    if options.schedule == .constant { asked.steps = options.steps }
    if asked != options {
      let named = asked.settings.differences(from: options.settings)
      differences += named.isEmpty ? ["its options differ"] : named
    }
    if records.count > other.options.steps {
      differences.append("it is at step \(records.count), beyond the \(other.options.steps) asked for")
    }
    if identity != other.identity {
      differences.append("its pictures, prompts or base model differ, or their size, the batch or how references are drawn")
    }
    if inputs.count != other.inputs.count { differences.append("it zips \(inputs.count) LoRAs, not \(other.inputs.count)") }
    for (saved, asked) in zip(inputs, other.inputs) {
      // Sums may differ in the last bits with the number of threads.
      let sameNorm = abs(saved.norm - asked.norm) <= 1e-9 * saved.norm
      if saved.layers != asked.layers || saved.weight != asked.weight || !sameNorm {
        differences.append("it has another LoRA \(saved.name) where \(asked.name) is given")
      }
    }
    return differences
  }
}

extension ZipOptions {
  /// As `ziplora zip` calls them.
  fileprivate var settings: OrderedDictionary<String, String> {
    [
      "--method": closedForm.map { "closed-form (passes \($0.passes), pull \($0.pull))" } ?? "paper or joint",
      "--steps": "\(steps)", "--optimizer": optimizer.rawValue, "--learning-rate": "\(learningRate)",
      "schedule": schedule.rawValue, "--draws": "\(draws ?? 0)", "--start": "\(initialValue)",
      "--lambda": "\(objective.lambda)", "--fidelity": objective.fidelity.rawValue, "--similarity": objective.similarity.rawValue,
      "--scope": "\(scope)",
      "--patience": patience.map { "\($0)" } ?? "none", "similarity tolerance": "\(similarityTolerance)", "--seed": "\(seed)",
    ]
  }
}

extension ZipLoRA {
  /// Writes everything that `init(resuming:)` needs to go on bit for bit, replacing an earlier state.
  ///
  /// - Parameter identity: of whatever else the result depends on, such as pictures, prompts and the base model.
  public func saveState(to path: String, identity: String = "") throws {
    var tensors = coefficients.flattened(prefix: "coefficients.")
    tensors.merge(start.flattened(prefix: "start.")) { $1 }
    for (index, moments) in zip(adam.firstMoments, adam.secondMoments).enumerated() {
      tensors["adam.\(index).first"] = moments.0
      tensors["adam.\(index).second"] = moments.1
      tensors["adam.\(index).steps"] = adam.steps[index]
    }
    tensors["generator"] = generator.state
    let state = try JSONText.compact(ZipState(inputs, options, records, identity: identity))
    try saveSafeTensors(tensors, metadata: ["format": ZipState.format, ZipState.key: state], to: path, overwrite: true)
  }

  /// Refuses a file that is no state of a zip, before it is known what is zipped.
  ///
  /// - Throws: `StateError`.
  public static func checkState(at path: String) throws { _ = try ZipState(StateError.opening(path)) }

  /// Refuses a state that `init(resuming:)` would refuse for what it is of, before there is anything to go on with.
  ///
  /// - Throws: `StateError`.
  public static func checkState(at path: String, identity: String = "", _ inputs: [MergeInput], options: ZipOptions) throws {
    _ = try ZipState(StateError.opening(path), for: ZipState(inputs, options, [], identity: identity))
  }

  /// Goes on where `saveState` was called: same inputs, probe and options give the coefficients that one run would have
  /// given. Only the number of steps may be another, with a constant rate and if it is no smaller than what is done.
  ///
  /// - Throws: `StateError`.
  public convenience init(
    resuming path: String, identity: String = "", _ inputs: [MergeInput], probe: any FidelityProbe,
    options: ZipOptions = .init()
  ) throws {
    try options.validate()
    let plan = try MergePlan(inputs, scope: options.scope)
    let file = try StateError.opening(path)
    let state = try ZipState(file, for: ZipState(inputs, options, [], identity: identity))
    let template = plan.coefficients(options.initialValue, for: inputs, on: probe.projections)
    func saved(_ prefix: String) throws -> MergerCoefficients {
      let found = try MergerCoefficients(file, prefix: prefix, adapters: inputs.count)?.arranged(like: template)
      guard let found else { throw ZipState.stranger(path) }
      return found
    }
    let (start, live) = (try saved("start."), try saved("coefficients."))
    try self.init(inputs, probe: probe, options: options, plan: plan, start: start, generator: Generator(seed: 0))
    try withTorchErrors { generator.state = try file.tensor("generator") }
    withoutGrad { for (current, kept) in zip(coefficients.tensors, live.tensors) { current.copyInPlace(kept) } }
    func moments(_ name: String, shape: [Int]? = nil) throws -> [Tensor] {
      try adam.parameters.enumerated().map { index, parameter in
        let moment = try file.tensor("adam.\(index).\(name)")
        guard moment.shape == shape ?? parameter.shape else { throw ZipState.stranger(path) }
        return moment
      }
    }
    adam.restore(firstMoments: try moments("first"), secondMoments: try moments("second"), steps: try moments("steps", shape: []))
    records = state.records
  }
}

extension MergerCoefficients {
  /// The same vectors in another's order, type and device; nil where the two are not for the same layers.
  fileprivate func arranged(like template: MergerCoefficients) -> MergerCoefficients? {
    guard vectors.count == template.vectors.count else { return nil }
    var arranged: OrderedDictionary<String, Vectors> = [:]
    for (path, wanted) in template.vectors {
      guard let found = vectors[path], found.keys == wanted.keys else { return nil }
      arranged[path] = [:]
      for (index, vector) in wanted {
        guard let own = found[index], own.shape == vector.shape else { return nil }
        arranged[path]?[index] = own.to(dtype: vector.dtype, device: vector.device)
      }
    }
    return MergerCoefficients(arranged)
  }
}
