extension Image {
  /// The part of `width` x `height` pixels whose top left corner is (x, y). A part outside the picture is a bug and traps.
  public func cropped(x: Int, y: Int, width newWidth: Int, height newHeight: Int) -> Image {
    precondition(
      x >= 0 && y >= 0 && newWidth > 0 && newHeight > 0 && x + newWidth <= width && y + newHeight <= height,
      "\(newWidth) x \(newHeight) pixels at (\(x), \(y)) are not inside \(width) x \(height)")
    return remapped(width: newWidth, height: newHeight) { (x + $0, y + $1) }
  }

  /// The largest part in the middle with the proportions `aspectWidth` : `aspectHeight`, to the nearest pixel.
  public func centerCropped(toAspect aspectWidth: Int, _ aspectHeight: Int) -> Image {
    precondition(aspectWidth > 0 && aspectHeight > 0, "no picture has proportions \(aspectWidth) : \(aspectHeight)")
    let isTooWide = width * aspectHeight > height * aspectWidth
    let newWidth = isTooWide ? max(1, (2 * height * aspectWidth + aspectHeight) / (2 * aspectHeight)) : width
    let newHeight = isTooWide ? height : max(1, (2 * width * aspectHeight + aspectWidth) / (2 * aspectWidth))
    return cropped(x: (width - newWidth) / 2, y: (height - newHeight) / 2, width: newWidth, height: newHeight)
  }

  /// The largest square in the middle.
  public func croppedSquare() -> Image {
    centerCropped(toAspect: 1, 1)
  }

  /// This picture cut to the proportions of a size, in the middle, and scaled to that size.
  public func filling(width newWidth: Int, height newHeight: Int, resampling: Resampling = .lanczos) -> Image {
    centerCropped(toAspect: newWidth, newHeight).resized(width: newWidth, height: newHeight, resampling: resampling)
  }

  /// This picture with every pixel as a square of `factor` x `factor`.
  public func magnified(by factor: Int) -> Image {
    precondition(factor > 0, "cannot magnify by \(factor)")
    return factor == 1 ? self : remapped(width: width * factor, height: height * factor) { ($0 / factor, $1 / factor) }
  }
}
