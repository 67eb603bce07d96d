internal import Torch

/// `proportion` is the height of the roof.
func houseLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let ridge = -0.6 - 0.28 * proportion
  let window = plane.box((0.24, 0.3), 0.15, 0.15, round: 0.02)
  let cross = plane.box((0.24, 0.3), 0.02, 0.15, round: 0.01).union(plane.box((0.24, 0.3), 0.15, 0.02, round: 0.01))
  return [
    Layer(.accent, plane.box((0.38, -0.46), 0.09, 0.28, round: 0.02)),
    Layer(.primary, plane.box((0, 0.4), 0.54, 0.46, round: 0.02)),
    Layer(.secondary, plane.polygon((-0.74, 0.0), (0, ridge), (0.74, 0.0), round: 0.03)),
    Layer(.light, plane.circle((0, -0.2), 0.1), detail: true),
    Layer(.accent, plane.box((-0.22, 0.56), 0.15, 0.3, round: 0.06)),
    Layer(.ink, plane.circle((-0.13, 0.58), 0.03), on: .accent),
    Layer(.light, window, detail: true),
    Layer(.ink, cross),
  ]
}

/// `proportion` is the girth.
func rocketLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let half = plane.folded(about: 0)
  let hull = plane.ellipse((0, -0.08), 0.3 + 0.1 * proportion, 0.82).intersection(plane.y - 0.5)
  return [
    Layer(.accent, plane.ellipse((0, 0.56), 0.2, 0.38)),
    Layer(.light, plane.ellipse((0, 0.54), 0.09, 0.22), detail: true),
    Layer(.secondary, half.polygon((0.18, 0.05), (0.62, 0.5), (0.58, 0.74), (0.18, 0.5), round: 0.02)),
    Layer(.primary, hull),
    Layer(.secondary, hull.intersection(plane.y + 0.5)),
    Layer(.light, plane.circle((0, -0.16), 0.19), detail: true),
    Layer(.accent, plane.circle((0, -0.16), 0.12), detail: true),
  ]
}

/// From the side; `proportion` is the height of the cabin.
func carLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let wheels = plane.folded(about: 0.02)
  let windows = plane.folded(about: 0.04)
  let roof = -0.4 - 0.14 * proportion
  let sill = 0.02
  let cabin = windows.polygon((0, roof), (0.32, roof), (0.52, sill), (0, sill), round: 0.06)
  return [
    Layer(.primary, cabin.union(plane.box((0, 0.24), 0.88, 0.26, round: 0.16))),
    Layer(.light, windows.polygon((0.07, roof + 0.08), (0.27, roof + 0.08), (0.4, sill - 0.02), (0.07, sill - 0.02))),
    Layer(.secondary, plane.box((0, 0.2), 0.84, 0.085, round: 0.04), detail: true),
    Layer(.dark, wheels.circle((0.48, 0.5), 0.25)),
    Layer(.secondary, wheels.circle((0.48, 0.5), 0.12), detail: true),
    Layer(.accent, plane.ellipse((-0.78, 0.2), 0.09, 0.11), detail: true),
  ]
}

/// `proportion` is the height of the smaller sail.
func boatLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  [
    Layer(.dark, plane.box((0, -0.22), 0.045, 0.66, round: 0.03), detail: true),
    Layer(.accent, plane.polygon((0.0, -0.9), (0.3, -0.78), (0.0, -0.66), round: 0.01), detail: true),
    Layer(.secondary, plane.polygon((0.1, -0.6), (0.7, 0.24), (0.1, 0.24), round: 0.02)),
    Layer(.light, plane.polygon((-0.1, -0.3 - 0.3 * proportion), (-0.1, 0.24), (-0.56, 0.24), round: 0.02)),
    Layer(.primary, plane.polygon((-0.86, 0.36), (0.86, 0.36), (0.56, 0.84), (-0.56, 0.84), round: 0.03)),
    Layer(.accent, plane.box((0, 0.38), 0.84, 0.06, round: 0.05), detail: true),
  ]
}

/// With a face and a straw; `proportion` is the width of the band.
func mugLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let face = plane.folded(about: -0.1)
  return [
    Layer(.primary, plane.circle((0.42, 0.18), 0.27).abs() - 0.085),
    Layer(.primary, plane.box((-0.1, 0.22), 0.5, 0.62, round: 0.14)),
    Layer(.secondary, plane.box((-0.1, 0.62), 0.5, 0.1 + 0.1 * proportion, round: 0.02)),
    Layer(.light, plane.ellipse((-0.1, -0.38), 0.5, 0.13), detail: true),
    Layer(.dark, plane.ellipse((-0.1, -0.37), 0.38, 0.075), detail: true),
    Layer(.accent, plane.stroke((-0.02, -0.36), (0.14, -0.86), 0.06), detail: true),
    Layer(.ink, face.ellipse((0.18, 0.06), 0.055, 0.08), on: .primary),
    Layer(.accent, face.circle((0.32, 0.2), 0.07), detail: true),
    Layer(.ink, plane.circle((-0.1, 0.16), 0.11).subtracting(plane.circle((-0.1, 0.1), 0.13)), on: .primary),
  ]
}

/// `proportion` is the width of the head.
func robotLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let half = plane.folded(about: 0)
  return [
    Layer(.dark, plane.stroke((0, -0.58), (0, -0.84), 0.035), detail: true),
    Layer(.accent, plane.circle((0, -0.86), 0.1), detail: true),
    Layer(.dark, half.box((0.2, 0.8), 0.12, 0.1, round: 0.04)),
    Layer(.secondary, half.stroke((0.5, 0.2), (0.66, 0.52), 0.09)),
    Layer(.accent, half.circle((0.67, 0.56), 0.12), detail: true),
    Layer(.primary, plane.box((0, 0.38), 0.44, 0.38, round: 0.08)),
    Layer(.secondary, plane.box((0, -0.32), 0.38 + 0.14 * proportion, 0.34, round: 0.1)),
    Layer(.accent, plane.box((0, 0.4), 0.2, 0.15, round: 0.03), detail: true),
  ] + eyes(half, spread: 0.18, height: -0.38, size: 0.13) + [
    Layer(.ink, plane.box((0, -0.12), 0.18, 0.04, round: 0.03), on: .secondary)
  ]
}
