internal import Torch

/// Sitting, tail curled beside; `proportion` is the height of the ears.
func catLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let head = plane.folded(about: -0.2)
  let paws = plane.folded(about: 0.04)
  let tip = -0.52 - 0.26 * proportion
  let tail = plane.stroke((0.35, 0.72), (0.7, 0.5), 0.09).union(plane.stroke((0.7, 0.5), (0.68, 0.08), 0.09))
  return [
    Layer(.primary, tail),
    Layer(.secondary, plane.circle((0.68, 0.02), 0.12)),
    Layer(.primary, plane.ellipse((0.06, 0.5), 0.42, 0.4)),
    Layer(.secondary, plane.ellipse((-0.04, 0.58), 0.2, 0.25)),
    Layer(.primary, paws.ellipse((0.2, 0.85), 0.15, 0.09), detail: true),
    Layer(.primary, head.polygon((0.42, -0.05), (0.4, tip), (0.04, -0.34), round: 0.02)),
    Layer(.accent, head.polygon((0.34, -0.2), (0.34, tip + 0.14), (0.16, -0.3)), detail: true),
    Layer(.primary, plane.ellipse((-0.2, -0.06), 0.45, 0.36)),
  ] + eyes(head, spread: 0.19, height: -0.1, size: 0.115) + [
    Layer(.secondary, plane.ellipse((-0.2, 0.13), 0.18, 0.11), detail: true),
    Layer(.accent, plane.polygon((-0.28, 0.06), (-0.12, 0.06), (-0.2, 0.15), round: 0.01), detail: true),
  ]
}

/// Standing, ears hanging; `proportion` is the length of the ears.
func dogLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let head = plane.folded(about: -0.34)
  let body = plane.box((0.18, 0.4), 0.46, 0.25, round: 0.22)
  let legs = plane.folded(about: 0.18)
  let ear = 0.22 + 0.16 * proportion
  return [
    Layer(.primary, plane.stroke((0.55, 0.32), (0.8, -0.05), 0.075)),
    Layer(.primary, legs.box((0.3, 0.68), 0.1, 0.24, round: 0.06)),
    Layer(.primary, body),
    Layer(.secondary, plane.ellipse((0.36, 0.28), 0.24, 0.2).intersection(body)),
    Layer(.accent, plane.box((-0.2, 0.22), 0.22, 0.06, round: 0.05), detail: true),
    Layer(.primary, plane.ellipse((-0.34, -0.14), 0.38, 0.36)),
    Layer(.light, plane.ellipse((-0.34, 0.05), 0.22, 0.17), detail: true),
    Layer(.secondary, head.ellipse((0.4, -0.26 + ear), 0.13, ear)),
  ] + eyes(head, spread: 0.16, height: -0.2, size: 0.09) + [
    Layer(.ink, plane.ellipse((-0.34, -0.03), 0.1, 0.065)),
    Layer(.accent, plane.ellipse((-0.34, 0.17), 0.065, 0.085), detail: true),
  ]
}

/// From the side; `proportion` is the size of the fins.
func fishLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let fin = 0.12 * proportion
  let body = plane.ellipse((-0.1, 0.02), 0.64, 0.42)
  return [
    Layer(
      .secondary,
      plane.polygon((0.36, 0.02), (0.86, -0.36 - fin), (0.74, 0.02), round: 0.03)
        .union(plane.polygon((0.36, 0.02), (0.74, 0.02), (0.86, 0.4 + fin), round: 0.03))),
    Layer(.secondary, plane.polygon((-0.3, -0.3), (0.12, -0.66 - fin), (0.3, -0.22), round: 0.03)),
    Layer(.secondary, plane.polygon((-0.1, 0.35), (0.2, 0.68 + fin), (0.22, 0.28), round: 0.03)),
    Layer(.primary, body),
    Layer(.light, plane.ellipse((-0.28, 0.36), 0.42, 0.22).intersection(body)),
    Layer(.accent, plane.polygon((0.0, 0.06), (0.28, -0.1), (0.3, 0.24), round: 0.03), detail: true),
    Layer(.accent, plane.ellipse((-0.7, 0.12), 0.06, 0.08), detail: true),
  ] + eye(plane, (-0.45, -0.08), size: 0.13)
}

/// From the side, on two legs; `proportion` is the height of the crest.
func birdLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let body = plane.ellipse((0.02, 0.2), 0.48, 0.38)
  return [
    Layer(.secondary, plane.polygon((0.3, 0.0), (0.9, -0.22), (0.86, 0.16), (0.34, 0.36), round: 0.02)),
    Layer(.accent, plane.folded(about: 0.06).stroke((0.14, 0.5), (0.14, 0.84), 0.045), detail: true),
    Layer(.accent, plane.folded(about: 0.0).stroke((0.2, 0.86), (0.06, 0.86), 0.045), detail: true),
    Layer(
      .secondary,
      plane.polygon(
        (-0.46, -0.45), (-0.2, -0.66 - 0.28 * proportion), (-0.18, -0.4), round: 0.03)),
    Layer(.primary, body.union(plane.circle((-0.36, -0.22), 0.33))),
    Layer(.light, plane.ellipse((-0.16, 0.34), 0.3, 0.22).intersection(body)),
    Layer(.secondary, plane.turned(0.25, about: (0.16, 0.14)).ellipse((0, 0), 0.32, 0.2)),
    Layer(.accent, plane.polygon((-0.62, -0.34), (-0.96, -0.16), (-0.6, -0.06), round: 0.02), detail: true),
  ] + eye(plane, (-0.44, -0.27), size: 0.12)
}

/// From the side, walking; `proportion` is the height of the shell.
func turtleLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let belly = plane.y - 0.38
  let shell = plane.ellipse((0.12, 0.36), 0.6, 0.66 + 0.2 * proportion).intersection(belly)
  let legs = plane.folded(about: 0.12)
  let plates = plane.circle((0.12, -0.02 - 0.1 * proportion), 0.15)
    .union(legs.circle((0.36, 0.2), 0.11))
  return [
    Layer(.secondary, plane.polygon((0.6, 0.28), (0.95, 0.48), (0.6, 0.46), round: 0.02), detail: true),
    Layer(.secondary, legs.box((0.36, 0.54), 0.13, 0.2, round: 0.1)),
    Layer(.secondary, plane.stroke((-0.4, 0.36), (-0.66, 0.14), 0.14).union(plane.circle((-0.68, 0.04), 0.24))),
    Layer(.primary, shell),
    Layer(.accent, plates, detail: true),
    Layer(.accent, plane.box((0.12, 0.4), 0.64, 0.075, round: 0.07), detail: true),
  ] + eye(plane, (-0.76, -0.02), size: 0.1)
}

/// From above, wings spread; `proportion` is the length of the lower wings.
func butterflyLayers(_ plane: Plane, _ proportion: Double) -> [Layer] {
  let half = plane.folded(about: 0)
  let upper = half.turned(-0.6, about: (0.42, -0.28)).ellipse((0, 0), 0.46, 0.32)
  let lower = half.turned(0.9, about: (0.32, 0.4)).ellipse((0, 0), 0.3 + 0.14 * proportion, 0.24)
  return [
    Layer(.ink, half.stroke((0.04, -0.45), (0.22, -0.84), 0.03).union(half.circle((0.23, -0.86), 0.06))),
    Layer(.secondary, lower),
    Layer(.accent, half.circle((0.34, 0.42), 0.1), detail: true),
    Layer(.primary, upper),
    Layer(.accent, half.circle((0.5, -0.34), 0.14), detail: true),
    Layer(.dark, plane.ellipse((0, 0.1), 0.095, 0.5)),
    Layer(.dark, plane.circle((0, -0.42), 0.14)),
    Layer(.light, half.circle((0.055, -0.44), 0.05), detail: true),
  ]
}
