package import OrderedCollections

extension OrderedDictionary<String, String> {
  /// Where settings, by the names that a user knows, differ from those that a saved state was made with; for its refusal.
  package func differences(from former: Self) -> [String] {
    compactMap { name, value in
      guard let before = former[name], before != value else { return nil }
      return "\(name) is \(value), the state was made with \(before)"
    }
  }
}
