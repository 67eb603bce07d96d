public import Evaluation
internal import Foundation
public import OrderedCollections
internal import Workflows

/// What each picture of one of the demo's models reaches, as a share of what true renders reach.
struct DemoScores {
  let subject: [Double]
  let style: [Double]
  let context: [Double]

  /// What these have more, picture by picture.
  static func - (these: DemoScores, those: DemoScores) -> DemoScores {
    func difference(_ scores: KeyPath<DemoScores, [Double]>) -> [Double] {
      zip(these[keyPath: scores], those[keyPath: scores]).map { $0 - $1 }
    }
    return DemoScores(subject: difference(\.subject), style: difference(\.style), context: difference(\.context))
  }
}

/// The demo's figures, written as results.json.
public struct DemoResults: Sendable {
  /// Shares of what true renders reach; 1 is as good as the truth.
  public struct Fidelity: Sendable {
    /// Class, colours and marking of the subject, in "a sbu X in szn style".
    public let subject: Estimate
    /// Line, fill, tone, background, texture of the style, in the same pictures.
    public let style: Estimate
    /// The place, in "a sbu X at the beach" and the like.
    public let context: Estimate

    init(_ scores: DemoScores) {
      (subject, style, context) = (Estimate(of: scores.subject), Estimate(of: scores.style), Estimate(of: scores.context))
    }

    public var estimates: [Estimate] { [subject, style, context] }
  }

  public static let columns = ["subject", "style", "context"]

  /// By the name of the model.
  public let rows: OrderedDictionary<String, Fidelity>
  /// Of ZipLoRA over direct merge, by pictures of the same prompt and seed.
  public let gain: Fidelity
  /// Of each model, how far its predictions for the training pictures of subject and style are from those LoRAs' alone
  /// (`Reproduction`): 0 the same, 1 as far as the base.
  public let errors: OrderedDictionary<String, [Double]>
  public let seconds: OrderedDictionary<String, Double>
  public let seed: UInt64

  init(
    _ scores: OrderedDictionary<String, DemoScores>, errors: OrderedDictionary<String, [Double]>,
    seconds: OrderedDictionary<String, Double>, seed: UInt64
  ) {
    rows = scores.mapValues(Fidelity.init)
    gain = Fidelity(scores["ziplora"]! - scores["direct merge"]!)
    self.errors = errors
    self.seconds = seconds
    self.seed = seed
  }

  /// With the keys in their order, which no encoder keeps.
  func json() -> String {
    func object(_ members: [(String, String)], indent: String) -> String {
      let lines = members.map { "\(indent)  \"\($0)\": \($1)" }
      return "{\n\(lines.joined(separator: ",\n"))\n\(indent)}"
    }
    func line(_ fidelity: Fidelity, _ text: (Estimate) -> String) -> String {
      let members = zip(Self.columns, fidelity.estimates).map { "\"\($0)\": \(text($1))" }
      return "{\(members.joined(separator: ", "))}"
    }
    func mean(_ estimate: Estimate) -> String { String(format: "%.4f", estimate.mean) }
    func interval(_ estimate: Estimate) -> String { String(format: "[%.4f, %.4f]", estimate.low, estimate.high) }
    let means = rows.map { ($0, line($1, mean)) }
    let intervals = rows.map { ($0, line($1, interval)) }
    let gain = [("mean", line(gain, mean)), ("interval", line(gain, interval))]
    let errors = errors.map { ($0, String(format: "{\"subject\": %.4f, \"style\": %.4f}", $1[0], $1[1])) }
    let seconds = seconds.map { ($0, String(format: "%.1f", $1)) }
    return object(
      [
        ("rows", object(means, indent: "  ")), ("intervals", object(intervals, indent: "  ")),
        ("gain", object(gain, indent: "  ")), ("errors", object(errors, indent: "  ")),
        ("seconds", object(seconds, indent: "  ")), ("seed", "\(seed)"),
      ], indent: "") + "\n"
  }
}
