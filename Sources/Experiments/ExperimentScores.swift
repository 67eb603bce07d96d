internal import Workflows

/// The scores of every picture that one row draws of one pair: by exhibit and measure, in the order of the pictures.
public struct ExperimentScores: Codable, Sendable, Equatable {
  private var values: [String: [String: [Double]]] = [:]

  package init() {}

  public subscript(exhibit: Experiment.Exhibit, measure: String) -> [Double]? {
    get { values[exhibit.rawValue]?[measure] }
    set { values[exhibit.rawValue, default: [:]][measure] = newValue }
  }
}
