internal import OrderedCollections
internal import Torch

/// Makes layers of the tensors of a file, accounts for every key and collects what is wrong.
struct LayerReader {
  private let dialect: any Dialect
  private let collection: SafeTensorsCollection
  private let alphas: any AlphaSource
  private let checksNumbers: Bool
  private(set) var defects: [AdapterFileError.Defect] = []
  /// Keys of biases and norms.
  private(set) var vectors: [String] = []
  /// Keys of embeddings of words.
  private(set) var embeddings: [String] = []
  /// Whether the alpha of a layer is in no tensor.
  private(set) var assumesAlphas = false

  init(dialect: any Dialect, collection: SafeTensorsCollection, alphas: any AlphaSource, checksNumbers: Bool) {
    self.dialect = dialect
    self.collection = collection
    self.alphas = alphas
    self.checksNumbers = checksNumbers
  }

  mutating func layers() throws -> OrderedDictionary<String, LayerChange> {
    var parts: OrderedDictionary<String, OrderedDictionary<AdapterKey.Part, String>> = [:]
    for key in collection.keys.sorted() {
      if Self.isEmbedding(key) {
        embeddings.append(key)
        continue
      }
      guard let parsed = dialect.parse(key) else {
        defects.append(.unknownKey(key))
        continue
      }
      if Self.changesEmbedding(parsed.stem) {
        embeddings.append(key)
        continue
      }
      if let other = parts[parsed.stem, default: [:]].updateValue(key, forKey: parsed.part) {
        defects.append(.twice(parsed.stem, [other, key]))
      }
    }
    var layers: OrderedDictionary<String, LayerChange> = [:]
    for (stem, keys) in parts {
      do {
        layers[stem] = try withTorchErrors { try layer(stem, keys) }
      } catch let defect as AdapterFileError.Defect {
        defects.append(defect)
      }
    }
    // A form by its name says more than its keys that are not known.
    defects = defects.filter(\.isOfForm) + defects.filter { !$0.isOfForm }
    return layers
  }

  /// Whether it is of words that were trained with the LoRA (OneTrainer, ai-toolkit; A1111:
  /// extensions-builtin/Lora/networks.py).
  private static func isEmbedding(_ key: String) -> Bool {
    key.hasPrefix("bundle_emb.") || ["emb_params", "clip_l", "clip_g"].contains(key)
  }

  /// Of all words and places, as ComfyUI extracts them from a whole text encoder (comfy_extras/nodes_lora_extract.py).
  private static func changesEmbedding(_ stem: String) -> Bool {
    let name = ModuleKind.plain(stem)
    return name.hasSuffix(".embeddings.token.embedding") || name.hasSuffix(".embeddings.position.embedding")
  }

  /// nil for a layer of which only biases or norms are changed.
  private mutating func layer(
    _ stem: String, _ keys: OrderedDictionary<AdapterKey.Part, String>
  ) throws -> LayerChange? {
    if let form = LayerForms.unsupported.first(where: { $0.parts.contains { keys[$0] != nil } }) {
      throw AdapterFileError.Defect.unsupported(stem, form: form.name)
    }
    let ofVectors = LayerForms.vectors.compactMap { keys[$0] }
    vectors += ofVectors
    let claims = LayerForms.all.filter { form in form.parts.contains { keys[$0] != nil } }
    guard claims.count <= 1 else { throw AdapterFileError.Defect.twoForms(stem, claims.map { $0.name }) }
    if claims.isEmpty, keys.count == ofVectors.count { return nil }
    // A difference of a norm is a vector, too.
    if let key = keys[.diff], keys.count == 1 + ofVectors.count, collection.shape(of: key)?.count == 1 {
      vectors.append(key)
      return nil
    }
    var tensors: [AdapterKey.Part: Tensor] = [:]
    for (part, key) in keys { tensors[part] = try numbers(key, part) }
    let layer = LayerTensors(
      stem: stem, tensors: tensors, statedAlpha: { [alphas] in alphas.alpha(of: stem, rank: $0) },
      statedScale: alphas.scale(of: stem),
      key: { [dialect] in keys[$0] ?? dialect.key(stem, $0) })
    // What has an alpha or magnitudes and nothing else is a LoRA without its halves.
    let form = try (claims.first ?? LowRankForm.self).init(layer)
    // The whole difference needs none.
    if keys[.alpha] == nil, !(form is DenseForm) { assumesAlphas = true }
    let magnitude = try Magnitude(layer, of: form)
    if magnitude == nil, alphas.hasMagnitude(stem) { throw AdapterFileError.Defect.noMagnitude(stem) }
    return LayerChange(form: form, magnitude: magnitude)
  }

  /// The largest of float16, which most files are of and all tools compute with. Products of so many factors as a layer has
  /// stay finite in 32 bits.
  static let largestNumber = 65504.0

  /// A tensor of finite floating-point numbers, none of which only damage explains. An alpha is looked at where a form uses it
  /// (`LayerTensors.alpha`), and may be an integer (diffusers: utils/state_dict_utils.py convert_state_dict_to_kohya).
  private func numbers(_ key: String, _ part: AdapterKey.Part) throws -> Tensor {
    let tensor = try collection.tensor(key)
    guard tensor.dtype.isFloatingPoint || part == .alpha && tensor.dtype != .bool else {
      throw AdapterFileError.Defect.notFloatingPoint(key, tensor.dtype)
    }
    guard checksNumbers, part != .alpha else { return tensor }
    // NaN wins over every number.
    let largest = tensor.count > 0 ? tensor.abs().max().item() : 0
    guard largest.isFinite else { throw AdapterFileError.Defect.notFinite(key) }
    guard largest <= Self.largestNumber else {
      throw AdapterFileError.Defect.tooLarge(key, largest, limit: Self.largestNumber)
    }
    return tensor
  }
}

extension AdapterFileError.Defect {
  fileprivate var isOfForm: Bool { if case .unsupported = self { true } else { false } }
}
