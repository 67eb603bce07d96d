internal import Foundation
internal import Torch

typealias Point = (x: Double, y: Double)

/// The coordinates of every pixel, y pointing down, and the signed distances from there to simple shapes: negative
/// inside, in the units of the plane.
///
/// As long as nothing turns or bends the plane, `x` is [1, W] and `y` is [H, 1]: what depends on one of them costs next to
/// nothing, and only sums are [H, W]. Distance formulas: Inigo Quilez, "2D distance functions".
struct Plane {
  var x, y: Tensor

  /// The plane from −1 to 1 with `size` pixels a side.
  init(size: Int) {
    let centers = (Tensor.arange(size, dtype: .float32) + 0.5) * (2 / Double(size)) - 1
    (x, y) = (centers.reshaped(1, size), centers.reshaped(size, 1))
  }

  init(x: Tensor, y: Tensor) { (self.x, self.y) = (x, y) }

  /// The plane mirrored at the vertical line through `axis`: a shape at axis + a also appears at axis − a; x counts from
  /// the axis.
  func folded(about axis: Double) -> Plane { Plane(x: (x - axis).abs(), y: y) }

  /// The plane seen from `center`, turned so that its x axis points along `angle` (clockwise on the screen).
  func turned(_ angle: Double, about center: Point) -> Plane {
    let (right, down) = (x - center.x, y - center.y)
    return Plane(
      x: right * Foundation.cos(angle) + down * Foundation.sin(angle),
      y: down * Foundation.cos(angle) - right * Foundation.sin(angle))
  }

  func circle(_ center: Point, _ radius: Double) -> Tensor {
    length(x - center.x, y - center.y) - radius
  }

  /// Exact at the outline to first order: q (q − 1) / |∇q| for q = |p / radii|.
  func ellipse(_ center: Point, _ radiusX: Double, _ radiusY: Double) -> Tensor {
    let (right, down) = ((x - center.x) * (1 / radiusX), (y - center.y) * (1 / radiusY))
    let q = length(right, down)
    let slope = length(right * (1 / radiusX), down * (1 / radiusY)) + 1e-4
    return q * (q - 1) / slope
  }

  /// A rectangle with rounded corners.
  func box(_ center: Point, _ halfWidth: Double, _ halfHeight: Double, round radius: Double = 0.03) -> Tensor {
    let right = (x - center.x).abs() - (halfWidth - radius)
    let down = (y - center.y).abs() - (halfHeight - radius)
    let outside = length(right.clamped(min: 0), down.clamped(min: 0))
    return outside + right.maximum(down).clamped(max: 0) - radius
  }

  /// A line with round ends.
  func stroke(_ start: Point, _ end: Point, _ radius: Double) -> Tensor {
    let (spanX, spanY) = (end.x - start.x, end.y - start.y)
    let scale = 1 / (spanX * spanX + spanY * spanY)
    let (right, down) = (x - start.x, y - start.y)
    let along = (right * (spanX * scale) + down * (spanY * scale)).clamped(min: 0, max: 1)
    return length(right - along * spanX, down - along * spanY) - radius
  }

  /// A convex polygon, inflated by `radius`. Beyond a corner the sides' own lines would run on to a far tip; a cut across
  /// the corner keeps the distance honest.
  func polygon(_ corners: Point..., round radius: Double = 0) -> Tensor {
    let count = corners.count
    let center = (x: corners.map(\.x).reduce(0, +) / Double(count), y: corners.map(\.y).reduce(0, +) / Double(count))
    /// Outward normal of the side from corner `index` to the next.
    func normal(_ index: Int) -> Point {
      let (from, to) = (corners[index % count], corners[(index + 1) % count])
      let across = (x: to.y - from.y, y: from.x - to.x)
      let outward = across.x * (from.x - center.x) + across.y * (from.y - center.y)
      let scale = (outward > 0 ? 1 : -1) / (across.x * across.x + across.y * across.y).squareRoot()
      return (across.x * scale, across.y * scale)
    }
    func halfPlane(_ corner: Point, _ normal: Point) -> Tensor {
      x * normal.x + (y * normal.y - (corner.x * normal.x + corner.y * normal.y + radius))
    }
    var distance = halfPlane(corners[0], normal(0))
    for index in 1..<count { distance = distance.maximum(halfPlane(corners[index], normal(index))) }
    for index in 0..<count {
      let (before, after) = (normal(index + count - 1), normal(index))
      let bisector = (x: before.x + after.x, y: before.y + after.y)
      let size = (bisector.x * bisector.x + bisector.y * bisector.y).squareRoot()
      // Up to a right angle or so the tip is near enough.
      if size < 1.35 { distance = distance.maximum(halfPlane(corners[index], (bisector.x / size, bisector.y / size))) }
    }
    return distance
  }

  /// `count` copies of a circle around `center`, at the distance `ring` from it.
  func ring(of count: Int, _ center: Point, at ring: Double, radius: Double) -> Tensor {
    let (right, down) = (x - center.x, y - center.y)
    let sector = 2 * Double.pi / Double(count)
    let angle = (down.atan2(right) + (Double.pi / 2 + sector / 2)).remainder(sector) - sector / 2
    let distance = length(right, down)
    return length(distance * angle.cos() - ring, distance * angle.sin()) - radius
  }

  /// Round dots on a lattice, about 1 inside and 0 outside; `spacing` apart, covering about `density` of their cells.
  func dots(spacing: Double, threshold: Double, sharpness: Double) -> Tensor {
    let wave = 2 * Double.pi / spacing
    return (((x * wave).cos() + (y * wave).cos() - threshold) * sharpness + 0.5).clamped(min: 0, max: 1)
  }
}

func length(_ x: Tensor, _ y: Tensor) -> Tensor { (x.square() + y.square()).sqrt() }

extension Tensor {
  /// The share of each pixel that lies inside of a shape at this signed distance, its edge `width` wide.
  func coverage(_ width: Double) -> Tensor { (self * (-1 / width) + 0.5).clamped(min: 0, max: 1) }

  func union(_ other: Tensor) -> Tensor { minimum(other) }
  func intersection(_ other: Tensor) -> Tensor { maximum(other) }
  func subtracting(_ other: Tensor) -> Tensor { maximum(-other) }
}
