public import Images
public import Torch

/// How a picture becomes the input of an encoder: scaled, cut, normalised.
///
/// Scaling is Pillow's, on 8-bit samples, as in transformers' processors without torchvision. Other scaling gives other
/// scores, so every report says what was done.
public struct ImagePreprocessing: Codable, Sendable, Equatable {
  /// The classes of transformers whose settings are read.
  public enum Processor: String, Codable, Sendable, CaseIterable {
    case clip = "CLIPImageProcessor"
    case vit = "ViTImageProcessor"
    case bit = "BitImageProcessor"
  }

  public struct Size: Codable, Sendable, Equatable {
    public var height: Int
    public var width: Int

    public init(height: Int, width: Int) {
      self.height = height
      self.width = width
    }
  }

  public enum Scaling: Codable, Sendable, Equatable {
    /// Proportions are kept.
    case shortestEdge(pixels: Int)
    /// Proportions are those of the size.
    case exact(height: Int, width: Int)
  }

  public var processor: Processor
  public var scaling: Scaling
  public var resampling: Resampling
  /// What is kept of the middle; nil for all.
  public var centerCrop: Size?
  public var rescaleFactor: Double
  /// Of red, green and blue after rescaling, as the standard deviation.
  public var mean: [Double]
  public var standardDeviation: [Double]

  public init(
    processor: Processor, scaling: Scaling, resampling: Resampling, centerCrop: Size? = nil, rescaleFactor: Double = 1 / 255,
    mean: [Double], standardDeviation: [Double]
  ) {
    self.processor = processor
    self.scaling = scaling
    self.resampling = resampling
    self.centerCrop = centerCrop
    self.rescaleFactor = rescaleFactor
    self.mean = mean
    self.standardDeviation = standardDeviation
  }

  /// Of what comes out; nil where that depends on the picture.
  public var outputSize: Size? {
    if let centerCrop { return centerCrop }
    guard case .exact(let height, let width) = scaling else { return nil }
    return Size(height: height, width: width)
  }

  /// How many pixels a picture has when it is scaled and not yet cropped: a very long one may have very many.
  public func scaledPixelCount(of image: Image) -> Double {
    let size = scaledSize(of: image)
    return Double(size.width) * Double(size.height)
  }

  /// A picture → [1, 3, height, width], float32 (transformers: image_processing_backends.py PilBackend._preprocess).
  public func callAsFunction(_ image: Image) -> Tensor {
    let scaled = scaledSize(of: image)
    var image = image.resized(width: scaled.width, height: scaled.height, resampling: resampling)
    if let crop = centerCrop {
      image = image.cropped(
        x: (image.width - crop.width) / 2, y: (image.height - crop.height) / 2, width: crop.width, height: crop.height)
    }
    let samples = Tensor(image.pixels, shape: [1, image.height, image.width, 3]).permuted(0, 3, 1, 2)
    func perChannel(_ numbers: [Double]) -> Tensor { Tensor(numbers.map(Float.init), shape: [1, 3, 1, 1]) }
    // Rescaled in double precision as there.
    let rescaled = (samples.to(dtype: .float64) * rescaleFactor).to(dtype: .float32)
    return (rescaled - perChannel(mean)) / perChannel(standardDeviation)
  }

  /// transformers: image_transforms.py get_resize_output_image_size
  private func scaledSize(of image: Image) -> Size {
    switch scaling {
    case .exact(let height, let width): return Size(height: height, width: width)
    case .shortestEdge(let edge):
      let (short, long) = (min(image.width, image.height), max(image.width, image.height))
      let longEdge = Int(Double(edge * long) / Double(short))
      return image.width <= image.height ? Size(height: longEdge, width: edge) : Size(height: edge, width: longEdge)
    }
  }
}

extension ImagePreprocessing: CustomStringConvertible {
  /// Such as `CLIPImageProcessor: shortest edge to 224, bicubic (Pillow), centre 224 x 224, mean …`.
  public var description: String {
    let scaling =
      switch scaling {
      case .shortestEdge(let pixels): "shortest edge to \(pixels)"
      case .exact(let height, let width): "to \(width) x \(height)"
      }
    let crop = centerCrop.map { ", centre \($0.width) x \($0.height)" } ?? ""
    let numbers = [("mean", mean), ("std", standardDeviation)].map { name, values in
      "\(name) \(values.map { "\($0)" }.joined(separator: " "))"
    }
    return "\(processor.rawValue): \(scaling), \(resampling.rawValue) (Pillow)\(crop), \(numbers.joined(separator: ", "))"
  }
}
