internal import Foundation

/// The kernel that `Image.resized` weighs neighbouring pixels with.
public enum Resampling: String, Codable, Sendable, CaseIterable {
  /// A triangle of support 1: what ViT's preprocessing uses.
  case bilinear
  /// Keys' cubic with a = -0.5, support 2: what CLIP's and DINOv2's preprocessing use.
  case bicubic
  /// Windowed sinc of support 3: the sharpest, what diffusers' `VaeImageProcessor` uses.
  case lanczos

  fileprivate var support: Double {
    switch self {
    case .bilinear: 1
    case .bicubic: 2
    case .lanczos: 3
    }
  }

  fileprivate func weight(_ x: Double) -> Double {
    let x = abs(x)
    switch self {
    case .bilinear:
      return max(1 - x, 0)
    case .bicubic:
      let a = -0.5
      if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
    case .lanczos:
      return x < 3 ? Self.sinc(x) * Self.sinc(x / 3) : 0
    }
  }

  private static func sinc(_ x: Double) -> Double {
    x == 0 ? 1 : sin(x * .pi) / (x * .pi)
  }
}

extension Image {
  /// This picture scaled to a size, which may change its proportions.
  ///
  /// Antialiased and separable, rows first: when shrinking, the kernel is widened by the factor, so every pixel of the
  /// source counts. Weights are 22-bit fixed point and each pass rounds to 8 bits, so that samples equal those of
  /// Pillow's `Image.resize` up to version 12, with which pictures were prepared for the models used here. (Pillow 13
  /// begins with the columns where the height shrinks much more than the width.)
  public func resized(width newWidth: Int, height newHeight: Int, resampling: Resampling = .lanczos) -> Image {
    precondition(newWidth > 0 && newHeight > 0, "cannot resize to \(newWidth) x \(newHeight)")
    var image = self
    if newWidth != width {
      image = image.resampled(Taps.all(from: width, to: newWidth, resampling), alongRows: true)
    }
    if newHeight != height {
      image = image.resampled(Taps.all(from: height, to: newHeight, resampling), alongRows: false)
    }
    return image
  }

  /// One pass: every output column (or row) is the weighted sum of the input columns (or rows) in its taps.
  private func resampled(_ taps: [Taps], alongRows: Bool) -> Image {
    let newWidth = alongRows ? taps.count : width
    let newHeight = alongRows ? height : taps.count
    let step = alongRows ? 3 : 3 * width
    let pixels = [UInt8](unsafeUninitializedCapacity: 3 * newWidth * newHeight) { buffer, count in
      self.pixels.withUnsafeBufferPointer { samples in
        for y in 0..<newHeight {
          for x in 0..<newWidth {
            let tap = taps[alongRows ? x : y]
            let first = alongRows ? 3 * (y * width + tap.first) : 3 * (tap.first * width + x)
            for channel in 0..<3 {
              buffer[count] = tap.sum(samples, from: first + channel, step: step)
              count += 1
            }
          }
        }
      }
    }
    return Image(width: newWidth, height: newHeight, pixels: pixels)
  }
}

/// The input samples that one output sample is made of, and their weights in fixed point.
private struct Taps {
  let first: Int
  let weights: [Int32]

  /// 8 bits for the sample and 2 for overshoot leave 22 of 32 for the fraction.
  static let fractionBits: Int32 = 22

  static func all(from size: Int, to newSize: Int, _ resampling: Resampling) -> [Taps] {
    let scale = Double(size) / Double(newSize)
    let widening = max(scale, 1)
    let support = resampling.support * widening
    return (0..<newSize).map { index in
      let center = (Double(index) + 0.5) * scale
      let first = max(Int(center - support + 0.5), 0)
      let last = min(Int(center + support + 0.5), size)
      let weights = (first..<last).map { resampling.weight((Double($0) - center + 0.5) / widening) }
      let total = weights.reduce(0, +)
      let unit = Double(1 << fractionBits)
      return Taps(first: first, weights: weights.map { Int32(($0 / total * unit).rounded(.toNearestOrAwayFromZero)) })
    }
  }

  func sum(_ samples: UnsafeBufferPointer<UInt8>, from start: Int, step: Int) -> UInt8 {
    var sum: Int32 = 1 << (Self.fractionBits - 1)  // rounds to nearest
    var position = start
    for weight in weights {
      sum &+= weight &* Int32(samples[position])
      position += step
    }
    return UInt8(clamping: sum >> Self.fractionBits)
  }
}
