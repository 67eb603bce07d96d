internal import Torch

/// One part of a figure: a shape, painted over the parts before it.
struct Layer {
  /// Where a layer's colour comes from.
  enum Role {
    case primary, secondary, accent
    /// Near black and near white materials, such as tyres and windows.
    case dark, light
    /// Drawn rather than painted: eyes, mouths. Never hatched, never left empty.
    case ink
  }

  /// Signed distance, in units of the figure.
  var distance: Tensor
  var role: Role
  /// Small parts get a finer outline.
  var isDetail: Bool
  /// What ink is drawn on; on black it is white.
  var ground: Role

  init(_ role: Role, _ distance: Tensor, detail: Bool = false, on ground: Role = .light) {
    (self.distance, self.role, self.isDetail, self.ground) = (distance, role, detail, ground)
  }
}

extension SubjectClass {
  /// The parts of a figure, back to front, in the square from −1 to 1 that it fills.
  ///
  /// - Parameter proportion: Identity.proportion.
  func layers(on plane: Plane, proportion: Double) -> [Layer] {
    let draw: (Plane, Double) -> [Layer] =
      switch self {
      case .cat: catLayers
      case .dog: dogLayers
      case .fish: fishLayers
      case .bird: birdLayers
      case .mushroom: mushroomLayers
      case .house: houseLayers
      case .tree: treeLayers
      case .rocket: rocketLayers
      case .car: carLayers
      case .boat: boatLayers
      case .flower: flowerLayers
      case .mug: mugLayers
      case .ghost: ghostLayers
      case .robot: robotLayers
      case .turtle: turtleLayers
      case .butterfly: butterflyLayers
      }
    return draw(plane, proportion)
  }
}

/// Two eyes at a distance of `spread` from the axis of a folded plane.
func eyes(_ folded: Plane, spread: Double, height: Double, size: Double) -> [Layer] {
  [
    Layer(.light, folded.ellipse((spread, height), size, size * 1.15), detail: true),
    Layer(.ink, folded.circle((spread - size * 0.15, height + size * 0.1), size * 0.6)),
  ]
}

/// One eye of an animal seen from the side, looking to the left.
func eye(_ plane: Plane, _ center: Point, size: Double) -> [Layer] {
  [
    Layer(.light, plane.circle(center, size), detail: true),
    Layer(.ink, plane.circle((center.x - size * 0.2, center.y + size * 0.05), size * 0.6)),
  ]
}
