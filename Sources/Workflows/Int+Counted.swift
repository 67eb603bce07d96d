extension Int {
  /// `1 pair`, `2 pairs`.
  package func counted(_ word: String) -> String { "\(self) \(word)\(self == 1 ? "" : "s")" }
}
