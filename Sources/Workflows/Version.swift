/// The version of this package, as in `ziplora --version` and in every file that it writes.
public enum Version {
  public static let current = "0.1.0"
}
