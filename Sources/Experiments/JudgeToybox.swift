internal import Foundation
internal import Images
internal import SafeTensors
internal import Torch
internal import Toybox
internal import Training
internal import Workflows

/// Marks what an experiment has drawn for one pair of Toybox examples, by the oracle that knows the truth.
struct JudgeToybox: Workflow {
  static let name = "judge"

  var base: String
  var subject: String
  var style: String
  /// Where the subject was drawn, as prompts say it.
  var contexts: [String]
  /// Holds a folder for each exhibit, and gets `scores.json`.
  var pictures: String

  func validate() throws { _ = try (examples, places) }

  private var examples: (subject: Example, style: Example) {
    get throws {
      do {
        return (try .named(subject, .subject), try .named(style, .style))
      } catch {
        throw SettingError(
          "Toybox's oracle judges Toybox's own examples alone: \(error); judge others with encoders, or draw without a judge (oracle: false)"
        )
      }
    }
  }

  private var places: [Context] {
    get throws {
      try contexts.map { name in
        guard let context = Context(rawValue: name) else {
          let known = Context.allCases.map(\.rawValue).filter { !$0.isEmpty }.joined(separator: ", ")
          throw SettingError("contexts: found \"\(name)\"; expected \(known)")
        }
        return context
      }
    }
  }

  func perform(progress: ProgressHandler) throws -> ExperimentScores {
    let began = ContinuousClock.now
    let oracle = try Oracle(base: base)
    var inputs = [try FileDigest(of: Oracle.weights(base: base))]
    let truth = ExampleTruth(subject: try examples.subject, style: try examples.style, seed: 11)
    var scores = ExperimentScores()
    for exhibit in Experiment.Exhibit.allCases {
      let record = "\(pictures)/\(exhibit.rawValue)/run.json"
      guard !exhibit.measures.isEmpty, try exhibit != .placed || !places.isEmpty, Paths.exists(record) else { continue }
      let bytes = try Data(contentsOf: URL(filePath: record))
      let files = try JSONDecoder().decode(RunRecord<GenerateImages>.self, from: bytes).outputs.map(\.path)
      inputs += try ([record] + files).map(FileDigest.init)
      let drawn = Tensor.stacked(try files.map { try Image(contentsOf: $0).tensor })
      let scenes = try truth.scenes(exhibit, places: places, count: files.count)
      for (measure, attributes) in exhibit.measures {
        scores[exhibit, measure] = oracle.fidelity(drawn, truth: scenes, in: attributes)
      }
    }
    let file = "\(pictures)/scores.json"
    try AtomicFile.write(JSONText.pretty(scores) + "\n", to: file, overwrite: true)
    try RunRecord(self, inputs: inputs, outputs: [file], began: began)
      .write(to: Paths.record(of: file), overwrite: true)
    return scores
  }
}

extension Experiment.Exhibit {
  /// What is asked of such pictures.
  var measures: [(String, [Attribute])] {
    switch self {
    case .styled: [("subject", Attribute.ofSubject), ("style", Attribute.ofStyle)]
    case .placed: [("context", [.context]), ("subject", Attribute.ofSubject)]
    case .subject: [("subject", Attribute.ofSubject)]
    case .style: [("style", Attribute.ofStyle)]
    case .reproduction: []
    }
  }
}

/// What pictures of a subject and a style should show, each in a pose of its own.
struct ExampleTruth {
  let subject: Example
  let style: Example
  let seed: UInt64

  private var photographed: Subject { subject.scenes[0].subject }

  /// - Parameters:
  ///   - exhibit: one that is drawn.
  ///   - count: of all pictures, the same number in each place.
  func scenes(_ exhibit: Experiment.Exhibit, places: [Context], count: Int) -> [Scene] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { index in
      let pose = Pose.random(&random)
      return switch exhibit {
      case .styled: Scene(photographed, style: style.scenes[0].style, pose: pose)
      case .placed: Scene(photographed, context: places[index * places.count / count], pose: pose)
      case .subject: Scene(photographed, pose: pose)
      case .style: Scene(style.scenes[0].subject, style: style.scenes[0].style, pose: pose)
      case .reproduction: preconditionFailure("nothing is drawn for it")
      }
    }
  }
}
