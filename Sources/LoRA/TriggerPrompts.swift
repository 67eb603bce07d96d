internal import Foundation
internal import OrderedCollections

extension AdapterFile {
  /// Prompts that call up what the adapter has learnt, as far as its metadata knows them: what it was trained with (ziplora),
  /// its trigger phrase (modelspec), else its most frequent training tag (sd-scripts).
  public var prompts: [String] {
    if let trained = metadata["ziplora.prompts"]?.split(separator: "\n").map(String.init), !trained.isEmpty { return trained }
    if let phrase = metadata["modelspec.trigger_phrase"], !phrase.isEmpty { return [phrase] }
    return mostFrequentTag.map { [$0] } ?? []
  }

  /// ss_tag_frequency: the counts of each folder's tags.
  private var mostFrequentTag: String? {
    guard let text = metadata["ss_tag_frequency"],
      let folders = try? JSONDecoder().decode([String: [String: Int]].self, from: Data(text.utf8))
    else { return nil }
    let counts = folders.values.reduce(into: [String: Int]()) { $0.merge($1, uniquingKeysWith: +) }
    return counts.max { ($0.value, $1.key) < ($1.value, $0.key) }?.key.trimmingCharacters(in: .whitespaces)
  }
}
