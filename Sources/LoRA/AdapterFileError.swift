public import Torch

/// Why a file is no adapter, or not one for this base model; with everything that is wrong, not only the first thing.
public struct AdapterFileError: Error, CustomStringConvertible {
  public let path: String
  public let problem: Problem

  public enum Problem: Sendable {
    /// No tensors, or an adapter without layers.
    case empty
    case unrecognized(count: Int, examples: [String])
    case mixed([Evidence], count: Int)
    case defects([Defect], dialect: String)
    /// No layer fits, or some have other shapes than the model's.
    case otherBase([Defect], of: Int, file: BaseFamily?, base: BaseFamily?)
    /// Numbers that no file may hold.
    case notFinite(String)
    /// Numbers that no reader takes for a LoRA's.
    case beyondReading(String, Double, limit: Double)
    case metadata(MetadataError)
    /// A folder without a file of these names.
    case noFile(names: [String])
    case unreadableCompanion(String)
  }

  /// How many keys of a file have the form of a dialect.
  public struct Evidence: Sendable, CustomStringConvertible {
    public let dialect: String
    public let count: Int
    public let example: String?

    init(_ dialect: String, _ keys: [String]) {
      self.dialect = dialect
      count = keys.count
      example = keys.min()
    }

    public var description: String { "\(dialect): \(count) keys\(example.map { " such as \($0)" } ?? "")" }
  }

  /// Something wrong with one layer.
  public enum Defect: Error, Equatable, Sendable, CustomStringConvertible {
    case unknownKey(String)
    case missing([String], for: String)
    case halves(String, down: [Int], up: [Int])
    case shapes(String, found: [String], expected: String)
    case alphaNotOneNumber(String, shape: [Int])
    case zeroAlpha(String)
    case twoAlphas(String, tensor: Double, metadata: Double)
    case noMagnitude(String)
    case twoForms(String, [String])
    case unsupported(String, form: String)
    case notFloatingPoint(String, DType)
    case notFinite(String)
    case tooLarge(String, Double, limit: Double)
    /// A layer larger than any model has.
    case hugeWeight(String, shape: [Int], limit: Int)
    case noSuchLayer(String)
    case twice(String, [String])
    case ambiguous(String, [String])
    case misfit(String, file: [Int], model: [Int])
    case transposed(String, file: [Int], model: [Int])
    case needsBase(String)
    case vectors([String])
    case embeddings([String])

    public var description: String { text.printable }

    /// Whether only the way in which the file is used is wrong.
    var isOfSoundFile: Bool {
      switch self {
      case .needsBase, .vectors, .embeddings: true
      default: false
      }
    }

    var isUnknownName: Bool { if case .noSuchLayer = self { true } else { false } }

    private var text: String {
      switch self {
      case .unknownKey(let key): "unknown key \(key)"
      case .missing(let keys, let stem): "\(stem) lacks \(keys.joined(separator: " and "))"
      case .halves(let stem, let down, let up):
        "\(stem) has down \(down) and up \(up), expected [rank, in] and [out, rank] with one rank of at least 1"
          + (down.count == 2 && up.count == 2 && down[1] == up[0] ? "; are they transposed?" : "")
      case .shapes(let stem, let found, let expected):
        "\(stem) has \(found.joined(separator: ", ")); expected \(expected)"
      case .alphaNotOneNumber(let key, let shape): "\(key) has the shape \(shape), expected a single number"
      case .zeroAlpha(let key):
        "\(key) is 0, which some tools read as no effect and others as the rank; write the alpha that is meant"
      case .twoAlphas(let stem, let tensor, let metadata):
        "\(stem) has alpha \(tensor) as a tensor and \(metadata) in the metadata"
      case .noMagnitude(let stem): "\(stem) lacks the magnitudes of DoRA, which the metadata asks for (use_dora)"
      case .twoForms(let stem, let forms): "\(stem) is \(forms.joined(separator: " and ")) at once"
      case .unsupported(let stem, let form):
        "\(stem) is \(form), which is not read; have the tool that made it extract a LoRA"
      case .notFloatingPoint(let key, let dtype): "\(key) holds \(dtype), expected floating-point numbers"
      case .notFinite(let key): "\(key) holds infinite numbers or NaN"
      case .tooLarge(let key, let number, let limit):
        "\(key) holds \(number), expected numbers up to \(limit); the file is damaged or its training has diverged"
      case .hugeWeight(let stem, let shape, let limit):
        "\(stem) is for a weight \(shape), expected at most \(limit) numbers; no model has such a layer"
      case .noSuchLayer(let stem): "no layer of the base model is called \(stem)"
      case .twice(let path, let stems): "\(path) is changed twice, as \(stems.joined(separator: " and "))"
      case .ambiguous(let stem, let paths):
        "\(stem) can be \(paths.joined(separator: " or ")); convert the file with its own tool to a dialect that says which"
      case .misfit(let path, let file, let model): "\(path): the file is for a weight \(file), the model's is \(model)"
      case .transposed(let path, let file, let model):
        "\(path): the factors give a weight \(file), but transposed they would fit the model's \(model)"
      case .needsBase(let stem): "\(stem) is DoRA, which depends on the base model's weights; give the base model (--base)"
      case .vectors(let keys):
        "\(keys.count) tensors change biases or norms, which no LoRA can hold, such as \(keys.min() ?? ""); "
          + "leave them out with `ziplora convert --leave-out-vectors` (leavesOutVectors)"
      case .embeddings(let keys):
        "\(keys.count) tensors are embeddings of words, which no LoRA can hold, such as \(keys.min() ?? ""); "
          + "leave them out with `ziplora convert --leave-out-vectors` (leavesOutVectors)"
      }
    }
  }

  init(_ path: String, _ problem: Problem) {
    self.path = path
    self.problem = problem
  }

  public var description: String { "\(path): \(message.printable)" }

  private var message: String {
    switch problem {
    case .empty: "there is no LoRA layer in it"
    case .unrecognized(let count, let examples):
      "not a LoRA file of a known dialect: none of its \(count) keys is, such as\(list(examples))\nKnown are\(knownDialects)"
    case .mixed(let evidence, let count):
      "the \(count) keys are of more than one dialect, so their meaning is not certain:"
        + list(evidence.map(\.description))
    case .defects(let defects, let dialect):
      (defects.allSatisfy(\.isOfSoundFile) ? "not to be used as it is:" : "not a sound LoRA file of the dialect \(dialect):")
        + list(defects.map(\.description))
    case .otherBase(let defects, let count, let file, let base):
      // A LoRA of the same family with names of which none is known.
      file != nil && file == base && defects.allSatisfy(\.isUnknownName)
        ? "\(defects.count) of \(count) layers have names that are none of the base model's:" + list(defects.map(\.description))
        : "not made for this base model (\(defects.count) of \(count) layers do not fit):" + list(defects.map(\.description))
          + "\nThe LoRA looks like \(file?.description ?? "nothing known"), the base model is "
          + "\(base?.description ?? "nothing known")."
    case .notFinite(let module): "\(module) holds infinite numbers or NaN; it cannot be written"
    case .beyondReading(let module, let number, let limit):
      "\(module) would hold \(number), and files are read with numbers up to \(limit); give it a smaller weight"
    case .metadata(let error): "\(error)"
    case .noFile(let names): "a folder with none of the files\(list(names))"
    case .unreadableCompanion(let name): "\(name) beside it cannot be read as UTF-8 text"
    }
  }

  private var knownDialects: String { list(Dialects.all.map { "\($0.name) (\($0.summary))" }) }

  private func list(_ lines: [String]) -> String {
    let shown = lines.prefix(10).map { "\n  \($0)" }.joined()
    return lines.count > 10 ? shown + "\n  … and \(lines.count - 10) more" : shown
  }
}

extension String {
  /// Without control characters, which names in a file may hold, and which could write anything on a terminal or turn lines round.
  package var printable: String {
    String(
      String.UnicodeScalarView(
        unicodeScalars.flatMap { scalar -> [Unicode.Scalar] in
          scalar.properties.generalCategory == .control && scalar != "\n" || scalar.properties.isBidiControl
            ? Array("\\u{\(String(scalar.value, radix: 16))}".unicodeScalars) : [scalar]
        }))
  }
}
