internal import Torch

/// A toadstool with a face; `proportion` is the height of the cap.
func mushroomLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let face = plane.folded(about: 0)
  let cap = plane.ellipse((0, 0.06), 0.78, 0.62 + 0.28 * proportion).intersection(plane.y - 0.1)
  return [
    Layer(.light, plane.box((0, 0.46), 0.27, 0.42, round: 0.16)),
    Layer(.ink, face.circle((0.1, 0.4), 0.05)),
    Layer(.accent, face.circle((0.19, 0.52), 0.055), detail: true),
    Layer(.ink, plane.ellipse((0, 0.52), 0.05, 0.04)),
    Layer(.accent, plane.ellipse((0, 0.12), 0.5, 0.12), detail: true),
    Layer(.primary, cap),
    Layer(.secondary, plane.box((0, 0.06), 0.8, 0.1, round: 0.1), detail: true),
  ]
}

/// A round tree with fruit; `proportion` is the height of the crown.
func treeLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let half = plane.folded(about: 0)
  let top = -0.36 - 0.12 * proportion
  let crown = half.circle((0.32, 0.02), 0.36).union(plane.circle((0, top), 0.38)).union(plane.circle((0, 0.05), 0.3))
  let fruit = plane.circle((-0.36, 0.06), 0.1).union(plane.circle((0.08, top - 0.02), 0.1))
    .union(plane.circle((0.34, 0.0), 0.1)).union(plane.circle((-0.04, 0.12), 0.1))
  return [
    Layer(.secondary, plane.polygon((-0.12, 0.1), (0.12, 0.1), (0.24, 0.88), (-0.24, 0.88), round: 0.02)),
    Layer(.primary, crown),
    Layer(.accent, fruit, detail: true),
  ]
}

/// A face among petals; `proportion` is the number of petals, 5...8.
func flowerLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let face = plane.folded(about: 0)
  let petals = 5 + Int(proportion * 3.999)
  return [
    Layer(.accent, plane.stroke((0, 0.1), (0, 0.88), 0.06)),
    Layer(.accent, face.turned(-0.5, about: (0.24, 0.66)).ellipse((0, 0), 0.26, 0.11), detail: true),
    Layer(.primary, plane.ring(of: petals, (0, -0.22), at: 0.42, radius: petals > 6 ? 0.19 : 0.23)),
    Layer(.secondary, plane.circle((0, -0.22), 0.3)),
    Layer(.ink, face.circle((0.1, -0.27), 0.05), on: .secondary),
    Layer(.ink, plane.circle((0, -0.2), 0.11).subtracting(plane.circle((0, -0.25), 0.12)), on: .secondary),
  ]
}

/// With a hat; `proportion` is the height of the hat.
func ghostLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let face = plane.folded(about: 0)
  let brim = -0.62
  let height = 0.14 + 0.12 * proportion
  let sheet = plane.circle((0, -0.16), 0.52).union(plane.box((0, 0.3), 0.52, 0.5, round: 0.04))
    .subtracting(plane.circle((0, 0.84), 0.14)).subtracting(face.circle((0.36, 0.84), 0.14))
  return [
    Layer(.primary, sheet),
    Layer(.ink, face.ellipse((0.18, -0.14), 0.09, 0.14), on: .primary),
    Layer(.light, face.circle((0.15, -0.19), 0.035), detail: true),
    Layer(.accent, plane.ellipse((0, 0.14), 0.11, 0.09), detail: true),
    Layer(.secondary, face.ellipse((0.34, 0.06), 0.1, 0.07), detail: true),
    Layer(.secondary, plane.box((0, brim - height), 0.26, height, round: 0.03)),
    Layer(.secondary, plane.box((0, brim), 0.46, 0.065, round: 0.05)),
    Layer(.accent, plane.box((0, brim - 0.12), 0.26, 0.06, round: 0.01), detail: true),
  ]
}
