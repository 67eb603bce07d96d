public import Torch
internal import Training

/// Reads the attributes of a Toybox picture: a small convolutional network with one head an attribute, the judge of
/// generated pictures. Its own accuracy on true renders is the yardstick and always stated.
public final class Oracle {
  static let folder = "oracle"
  static let file = "model"

  private let store: WeightStore
  private let stages: [(conv: Conv2d, norm: GroupNorm)]
  private let trunk: Linear
  private let heads: [(attribute: Attribute, linear: Linear)]

  private static let widths = [(32, 1), (48, 2), (64, 1), (96, 2), (128, 1), (160, 2), (192, 1), (256, 2)]

  /// The file of a base folder's oracle.
  public static func weights(base: String) -> String { "\(base)/\(folder)/\(file).safetensors" }

  /// Loads the oracle of a base folder.
  ///
  /// - Throws: `SafeTensorsError`, `LoadingError`.
  public convenience init(base: String) throws {
    let weights = try SafeTensorsCollection(path: Self.weights(base: base))
    let store = WeightStore(.collection(weights))
    self.init(store)
    try store.finish()
  }

  init(_ store: WeightStore) {
    self.store = store
    let root = store.root
    var inputs = 3
    var stages: [(Conv2d, GroupNorm)] = []
    for (index, (width, stride)) in Self.widths.enumerated() {
      let place = root / "stages" / index
      stages.append(
        (
          Conv2d(place / "conv", inputs, width, kernel: 3, stride: stride, padding: 1),
          GroupNorm(place / "norm", groups: 8, channels: width)
        ))
      inputs = width
    }
    self.stages = stages
    trunk = Linear(root / "trunk", inputs * 16, 256)
    heads = Attribute.all.map { ($0, Linear(root / "heads" / $0.name, 256, $0.answers.count)) }
  }

  /// - Parameter pictures: −1 ... 1, [N, 3, 64, 64].
  /// - Returns: logits [N, answers] of each attribute, in the order of `Attribute.all`.
  func logits(_ pictures: Tensor) -> [Tensor] {
    var x = pictures
    for (conv, norm) in stages { x = norm(conv(x)).silu() }
    x = trunk(x.flattened(from: 1)).silu()
    return heads.map { $0.linear(x) }
  }

  /// Probability of every answer to every attribute: [N, answers] each, in the order of `Attribute.all`.
  ///
  /// - Parameter pictures: 0 ... 1, [N, 3, 64, 64].
  public func probabilities(_ pictures: Tensor) -> [Tensor] {
    withoutGrad { logits(pictures * 2 - 1).map { $0.softmax(1) } }
  }
}
