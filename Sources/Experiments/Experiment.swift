public import Diffusion
internal import Foundation
public import Merging
internal import Toybox
public import Torch
public import Workflows
internal import Yams

/// What an experiment is about: LoRAs of subjects and styles, ways to bring two of them together, and what is drawn with
/// each. The content of the file that `ziplora experiment` runs.
public struct Experiment: Sendable {
  /// A subject or a style, as a person would bring it.
  public struct Material: Codable, Sendable, Equatable {
    public var name: String
    /// A folder of pictures, or one picture.
    public var images: String
    /// What its LoRA is trained with: "a sbu dog", "a house in szn style".
    public var prompt: String
    /// What the base calls such a thing: "a dog", "a house".
    public var classPrompt: String
    /// What is said after a subject's prompt to call the style up: "in szn style". Of styles only.
    public var phrase: String?
    /// What its LoRA may draw references of, beside its own prompt.
    public var referencePrompts: [String]
  }

  /// How LoRAs are trained.
  public struct Training: Codable, Sendable, Equatable {
    public var rank = 64
    public var steps = 1000
    public var learningRate = 5e-5
    public var schedule = LearningRate.Shape.constant
    public var warmup = 0
    public var batch = 1
    /// Pictures of the class that the base draws and the LoRA leaves as they are; none when 0.
    public var prior = 0
    public var seed: UInt64 = 0
  }

  /// Two LoRAs, or one of them, used in some way.
  public struct Row: Sendable, Equatable {
    public enum Way: Sendable, Equatable {
      /// The LoRAs as they are, none being the base alone, and how they act at once. `sparsity` is the share of each LoRA's elements
      /// that are made zero, the smallest of each layer.
      case loras([Role], sparsity: Double, combination: LoRACombination)
      /// A method of `ziplora merge`, with its options by name.
      case merge(String, options: [String: Double])
      case zip(Zip)
      /// One LoRA trained on the pictures of both.
      case joint(Training)
      /// What another row made, weighed anew.
      case reweighted(of: String)
      /// What another row made, with layers (parts of module paths) as a third row has them.
      case replaced(of: String, layers: [String], from: String)
    }

    public var name: String
    public var way: Way
    /// Of subject and style.
    public var weights: [Double] = [1, 1]
    /// Names of more subjects and styles that are merged or zipped with the two.
    public var with: [String] = []
  }

  public enum Role: String, Codable, Sendable, CaseIterable { case subject, style }

  /// How ZipLoRA is set.
  public struct Zip: Codable, Sendable, Equatable {
    public enum References: String, Codable, Sendable, CaseIterable {
      /// The pictures that the LoRAs were trained on.
      case pictures
      /// What the LoRAs draw of their own prompts.
      case drawn
    }

    public var options = ZipOptions()
    public var batch = 1
    public var references = References.pictures
    /// Whether each LoRA also draws references of its material's `referencePrompts`.
    public var usesReferencePrompts = false
    /// Whether "a sbu X in szn style" is a joint prompt.
    public var usesJointPrompt = false
    /// Pictures of each prompt of which references are drawn.
    public var referenceCount = 4
  }

  public struct Sampling: Codable, Sendable {
    public var sampler = Sampler.euler
    public var steps = 50
    public var guidance = 5.0
    public var seed: UInt64 = 1000
    /// Pictures drawn at once.
    public var batch = 1
    /// In which pictures are drawn; that of the base when nil.
    public var dtype: DType?
  }

  /// Models that give the paper's scores (`EvaluatePictures`).
  public struct Encoders: Codable, Sendable, Equatable {
    /// For text and style.
    public var clip: String?
    /// For the subject.
    public var dino: String?
  }

  /// In `dtype` LoRAs are trained, zipped and compared; `Sampling` has that of pictures.
  public var base: BaseModel
  /// Of all pictures: those that LoRAs are trained on and asked about, and those that are drawn.
  public var size = PictureSize()
  public var subjects: [Material]
  public var styles: [Material]
  /// By name, subject first; every subject with every style when nil.
  public var pairs: [[String]]?
  public var subjectTraining = Training()
  /// Of another seed: LoRAs that begin with the same random numbers disturb each other more.
  public var styleTraining = Training(seed: 500)
  public var rows: [Row]
  /// The row that the others are compared with.
  public var reference: String
  public var sampling = Sampling()
  /// Pictures of "a sbu X in szn style" of each pair.
  public var pictures = 10
  /// Pictures of each other prompt.
  public var otherPictures = 2
  /// Inputs of each LoRA on which predictions are compared, of four noisy pictures each.
  public var reproductionDraws = 16
  /// Places where the subject is drawn.
  public var contexts: [String] = []
  public var encoders: Encoders?
  /// Whether Toybox's oracle judges, which knows the truth of its examples alone; it does where no encoders do when nil.
  public var oracle: Bool?
}

// MARK: - What follows from it

extension Experiment {
  public struct Pair: Sendable, Equatable {
    public let subject: Material
    public let style: Material

    public var name: String { "\(subject.name)-\(style.name)" }
  }

  /// What is asked of each row of each pair.
  public enum Exhibit: String, Codable, Sendable, CaseIterable {
    /// The subject in the style.
    case styled
    /// The subject in other places.
    case placed
    /// What the subject's LoRA was trained with.
    case subject
    /// What the style's LoRA was trained with.
    case style
    /// Nothing is drawn: how far predictions for the training pictures are from each LoRA's (`Reproduction`).
    case reproduction
  }

  public func prompts(_ exhibit: Exhibit, of pair: Pair) -> [String] {
    switch exhibit {
    case .styled: ["\(pair.subject.prompt) \(pair.style.phrase ?? "")"]
    case .placed: contexts.map { "\(pair.subject.prompt) \($0)" }
    case .subject: [pair.subject.prompt]
    case .style: [pair.style.prompt]
    case .reproduction: []
    }
  }

  public var asksOracle: Bool { oracle ?? (encoders == nil) }

  /// What the encoders are asked of the pictures in a folder; nil where they have nothing to say.
  func evaluation(_ exhibit: Exhibit, of pair: Pair, pictures: String, json: String) -> EvaluatePictures? {
    guard let encoders else { return nil }
    let asksSubject = encoders.dino != nil && exhibit != .style
    let asksCLIP = encoders.clip != nil && exhibit != .subject
    guard exhibit != .reproduction, asksSubject || asksCLIP else { return nil }
    return EvaluatePictures(
      pictures: PictureSource(pictures), subjectImages: asksSubject ? pair.subject.images : nil,
      styleImages: asksCLIP && exhibit != .placed ? pair.style.images : nil, clip: asksCLIP ? encoders.clip : nil,
      dino: asksSubject ? encoders.dino : nil, json: json, overwrite: true)
  }

  public func count(_ exhibit: Exhibit) -> Int { exhibit == .styled ? pictures : otherPictures }

  /// The materials of `with`, beside their roles.
  ///
  /// - Throws: `SettingError` for a name that is not known, or is the pair's own.
  func others(_ row: Row, of pair: Pair) throws -> [(material: Material, role: Role)] {
    try row.with.map { name in
      let found =
        subjects.filter { $0.name == name }.map { ($0, Role.subject) } + styles.filter { $0.name == name }.map { ($0, .style) }
      guard found.count == 1, ![pair.subject.name, pair.style.name].contains(name) else {
        throw SettingError(
          "row \"\(row.name)\": with: \(name), beside \(pair.name); expected one of the other subjects and styles")
      }
      return found[0]
    }
  }

  public var allPairs: [Pair] {
    get throws {
      guard let pairs else { return subjects.flatMap { subject in styles.map { Pair(subject: subject, style: $0) } } }
      return try pairs.map { names in
        guard names.count == 2 else {
          throw SettingError("pairs: found [\(names.joined(separator: ", "))]; expected a subject and a style")
        }
        func find(_ name: String, _ materials: [Material], _ kind: String) throws -> Material {
          guard let found = materials.first(where: { $0.name == name }) else {
            let known = materials.map(\.name).joined(separator: ", ")
            throw SettingError("pairs: \"\(name)\" is none of the \(kind) (\(known))")
          }
          return found
        }
        return Pair(subject: try find(names[0], subjects, "subjects"), style: try find(names[1], styles, "styles"))
      }
    }
  }

  /// - Throws: `SettingError` with the first thing that makes no sense.
  public func validate() throws {
    try SettingPlace().naming {
      try base.validate()
      try size.validate()
    }
    func unique(_ names: [String], _ what: String) throws {
      guard !names.isEmpty else { throw SettingError("\(what): expected at least one") }
      for (index, name) in names.enumerated() {
        guard !name.isEmpty else { throw SettingError("\(what): a name is empty") }
        guard !names[..<index].contains(name) else { throw SettingError("\(what): \"\(name)\" is there twice") }
      }
    }
    try unique(subjects.map(\.name), "subjects")
    try unique(styles.map(\.name), "styles")
    // What the base draws of their classes lies under their names.
    try unique((subjects + styles).map(\.name), "subjects and styles")
    for material in subjects + styles where material.name.hasPrefix(".") || material.name.utf8.contains(UInt8(ascii: "/")) {
      throw SettingError(
        "the name \"\(material.name)\" becomes that of files; expected one without / and not beginning with a point")
    }
    try unique(rows.map(\.name), "rows")
    for (index, row) in rows.enumerated() {
      guard !row.folder.isEmpty else {
        throw SettingError("\(row.title): its name becomes that of a folder; expected letters or digits in it")
      }
      if let other = rows[..<index].first(where: { $0.folder == row.folder }) {
        throw SettingError(
          "\(row.title): its folder would be \"\(row.folder)\", which is that of \(other.title); expected another name")
      }
    }
    for (index, context) in contexts.enumerated() {
      guard !context.allSatisfy(\.isWhitespace) else { throw SettingError("contexts: one is empty") }
      guard !contexts[..<index].contains(context) else { throw SettingError("contexts: \"\(context)\" is there twice") }
    }
    for (key, training) in [("subject", subjectTraining), ("style", styleTraining)] where training.prior < 0 {
      throw SettingError("training.\(key).prior: found \(training.prior); expected 0 or more")
    }
    guard rows.contains(where: { $0.name == reference }) else {
      throw SettingError("compared-with: \"\(reference)\" is none of the rows (\(rows.map(\.name).joined(separator: ", ")))")
    }
    for row in rows {
      try row.validate(among: rows)
      guard case .joint(let joint) = row.way else { continue }
      let drawn = min(subjectTraining.prior, styleTraining.prior)
      guard (0...max(drawn, 0)).contains(joint.prior) else {
        throw SettingError(
          "\(row.title): joint.prior: found \(joint.prior); expected 0 to \(drawn), as training.subject and training.style draw so many "
            + "of their classes")
      }
    }
    if let encoders, encoders.clip == nil, encoders.dino == nil {
      throw SettingError("encoders: found none; expected clip, dino or both")
    }
    try unique(try allPairs.map(\.name), "pairs")
    try SettingPlace().naming {
      try Demand.atLeast(1, pictures, "pictures")
      try Demand.atLeast(1, otherPictures, "other-pictures")
      try Demand.atLeast(1, reproductionDraws, "reproduction-draws")
    }
  }
}

extension Experiment.Row {
  /// How LoRAs act at once where they are drawn with.
  var combination: LoRACombination {
    if case .loras(_, _, let combination) = way { combination } else { .weights }
  }

  var zip: Experiment.Zip? { if case .zip(let zip) = way { zip } else { nil } }

  func validate(among rows: [Experiment.Row]) throws {
    try validateWeights()
    switch way {
    case .loras(let roles, let sparsity, let combination):
      guard combination == .weights || roles.count == 2 else {
        throw SettingError("\(title): combine goes with loras: [subject, style] alone")
      }
      guard (0..<1).contains(sparsity) else { throw SettingError("\(title): sparsity \(sparsity); expected 0 up to 1") }
      guard sparsity == 0 || !roles.isEmpty else { throw SettingError("\(title): sparsity goes with loras alone") }
    case .merge(let name, let options):
      guard let method = MergeMethods.onWeights.first(where: { $0.name == name }) else {
        let names = MergeMethods.onWeights.map(\.name).joined(separator: ", ")
        throw SettingError("\(title): merge: \(name); expected one of \(names)")
      }
      try validate(options, of: method)
    case .zip, .joint: break
    case .reweighted(let row): try requireDivisible(row, among: rows)
    case .replaced(let row, _, let from):
      try requireDivisible(row, among: rows)
      switch rows.first(where: { $0.name == from })?.way {
      case .merge, .zip: break
      default: throw SettingError("\(title): from names \"\(from)\"; expected a row of merge or zip")
      }
    }
  }

  /// Only of what zipping and direct merge make it is known which ranks are whose.
  private func requireDivisible(_ row: String, among rows: [Experiment.Row]) throws {
    switch rows.first(where: { $0.name == row })?.way {
    case .zip: return
    case .merge(let method, _) where method == DirectMerge().name: return
    default: throw SettingError("\(title): of names \"\(row)\"; expected a row of zip or of merge: direct")
    }
  }

  /// Weights of LoRAs that take no part, or of none, would change nothing.
  private func validateWeights() throws {
    guard weights.count == 2 else { throw SettingError("\(title): weights are \(weights.count) numbers; expected 2") }
    let (acting, other): ([Experiment.Role], String) =
      switch way {
      case .loras(let roles, _, _): (roles, "loras without it")
      case .joint: ([], "joint")
      case .replaced: ([], "replace")
      case .merge, .zip, .reweighted: (Experiment.Role.allCases, "")
      }
    guard Set(acting).count == acting.count else { throw SettingError("\(title): loras: one is there twice") }
    for (role, weight) in Swift.zip(Experiment.Role.allCases, weights) {
      guard weight.isFinite else {
        throw SettingError("\(title): weights: found \(weight) for the \(role.rawValue); expected a finite number")
      }
      guard weight == 1 || acting.contains(role) else {
        throw SettingError(
          "\(title): weights: found \(weight) for the \(role.rawValue), which changes nothing beside \(other); expected 1")
      }
    }
    guard combination != .predictions || weights.allSatisfy({ $0 >= 0 }) && weights.contains(where: { $0 > 0 }) else {
      throw SettingError("\(title): weights: found \(weights); combine: predictions takes those from 0 on, not all 0")
    }
  }

  private func validate(_ options: [String: Double], of method: any MergeMethod) throws {
    do {
      _ = try method.setting(options)
    } catch .option(let option, let found, let expected) {
      throw SettingError("\(title): options.\(option): found \(found); expected \(expected)")
    } catch {
      throw SettingError("\(title): options: \(error)")
    }
  }

  /// For messages.
  var title: String { "row \"\(name)\"" }

  /// As a folder is called: letters and digits of any script, points inside, and dashes.
  var folder: String {
    let letters = name.lowercased().map { $0.isLetter || $0.isNumber || $0 == "." ? $0 : "-" }
    return String(String(letters).split(separator: "-").joined(separator: "-").drop { $0 == "." })
  }
}
