/// Something that can be set of a merge method: a number by its name, as in `--density 0.2`.
public struct MergeOption<Method>: Sendable {
  public let name: String
  /// The numbers that make sense, for messages.
  public let expected: String
  let accepts: @Sendable (Double) -> Bool
  /// nil for what the method chooses by itself.
  let get: @Sendable (Method) -> Double?
  let set: @Sendable (inout Method, Double) -> Void

  /// The share of elements that are kept.
  static func density(_ path: any WritableKeyPath<Method, Double> & Sendable) -> MergeOption {
    real("density", path, expected: "a number above 0 and at most 1") { $0 > 0 && $0 <= 1 }
  }

  /// The largest rank of a merged layer.
  static func rank(_ path: any WritableKeyPath<Method, Int?> & Sendable) -> MergeOption {
    MergeOption(
      name: "rank", expected: "a whole number of 1 or more", accepts: { Int(exactly: $0).map { $0 >= 1 } ?? false },
      get: { $0[keyPath: path].map(Double.init) }, set: { $0[keyPath: path] = Int($1) })
  }

  /// Of the elements that are dropped at random. Settings are kept as doubles, which hold every whole number up to 2⁵³.
  static func seed(_ path: any WritableKeyPath<Method, UInt64> & Sendable) -> MergeOption {
    MergeOption(
      name: "seed", expected: "a whole number of 0 to 9007199254740992",
      accepts: { $0 <= 0x1p53 && UInt64(exactly: $0) != nil },
      get: { Double($0[keyPath: path]) }, set: { $0[keyPath: path] = UInt64($1) })
  }

  static func real(
    _ name: String, _ path: any WritableKeyPath<Method, Double> & Sendable, expected: String,
    accepts: @escaping @Sendable (Double) -> Bool
  ) -> MergeOption {
    MergeOption(
      name: name, expected: expected, accepts: accepts, get: { $0[keyPath: path] }, set: { $0[keyPath: path] = $1 })
  }
}

extension MergeMethod {
  /// The names of all that can be set.
  public static var optionNames: [String] { options.map(\.name) }

  /// What is set, by name; what the method chooses by itself is left out.
  public var settings: [String: Double] {
    Self.options.reduce(into: [:]) { $0[$1.name] = $1.get(self) }
  }

  /// The method with some of its options set, by name.
  ///
  /// - Throws: `MergeError.noSuchOption`, `.option`.
  public func setting(_ values: [String: Double]) throws(MergeError) -> Self {
    var method = self
    for (name, value) in values.sorted(by: { $0.key < $1.key }) {
      guard let option = Self.options.first(where: { $0.name == name }) else {
        throw .noSuchOption(name, method: self.name, available: Self.optionNames)
      }
      guard option.accepts(value) else { throw .option(name, found: "\(value)", expected: option.expected) }
      option.set(&method, value)
    }
    try method.validate()
    return method
  }
}
