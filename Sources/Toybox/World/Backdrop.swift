internal import Foundation
internal import Torch

/// What is behind the figure, painted back to front.
struct Backdrop {
  /// A mask [H, W] (or a broadcast of it) in 0...1 and the colour it is painted with.
  typealias Wash = (mask: Tensor, color: RGB)

  var base: RGB
  var washes: [Wash]
  /// Dark enough that ink must be light.
  var isDark: Bool

  init(_ base: RGB, isDark: Bool = false, _ washes: [Wash]) {
    (self.base, self.isDark, self.washes) = (base, isDark, washes)
  }
}

extension Backdrop {
  /// - Parameters:
  ///   - plane: of the picture.
  ///   - pixel: the size of a pixel, the width of edges.
  static func of(_ scene: Scene, on plane: Plane, pixel: Double) -> Backdrop {
    let view = View(plane: plane, pixel: pixel, phase: scene.pose.phase)
    switch scene.style.background {
    case .paper: return paper(view)
    case .dark: return Backdrop(RGB(0.09, 0.09, 0.12), isDark: true, [(view.vignette() * 0.5, RGB(0.24, 0.24, 0.3))])
    case .plain(let color): return Backdrop(color.rgb, isDark: color.rgb.luminance < 0.36, [])
    case .scene:
      switch scene.context {
      case .none: return studio(view)
      case .grass: return grass(view)
      case .snow: return snow(view)
      case .beach: return beach(view)
      case .night: return night(view)
      case .desert: return desert(view)
      case .underwater: return underwater(view)
      }
    }
  }

  /// What backdrops are drawn with.
  private struct View {
    var plane: Plane
    var pixel: Double
    var phase: Double

    /// A number in −1...1 that depends on the phase; another for every `key`.
    func shift(_ key: Double) -> Double { Foundation.sin(2 * Double.pi * (phase + key)) }

    /// Below a horizon.
    func below(_ height: Double) -> Tensor { (plane.y * -1 + height).coverage(pixel) }

    /// Below a rolling line.
    func hill(_ height: Double, swing: Double, wave: Double, _ key: Double) -> Tensor {
      ((plane.x * wave + (2 * Double.pi * (phase + key))).sin() * swing + height - plane.y).coverage(pixel)
    }

    /// From 0 at one height to 1 at another.
    func fade(_ from: Double, _ to: Double) -> Tensor {
      ((plane.y - from) * (1 / (to - from))).clamped(min: 0, max: 1)
    }

    func disc(_ center: Point, _ radius: Double) -> Tensor { plane.circle(center, radius).coverage(pixel) }

    func cloud(_ center: Point) -> Tensor {
      plane.ellipse(center, 0.3, 0.09).union(plane.circle((center.x - 0.06, center.y - 0.07), 0.13)).coverage(pixel)
    }

    /// Bright in the middle.
    func vignette() -> Tensor { (1.1 - length(plane.x, plane.y)).clamped(min: 0, max: 1) }

    /// Specks scattered over the plane, one in each cell of a sheared lattice.
    func specks(spacing: Double, radius: Double) -> Tensor {
      let row = ((plane.y + phase) * (1 / spacing)).floor()
      let down = (plane.y + phase).remainder(spacing) - spacing / 2
      let right = (plane.x + row * (spacing * 0.382) + phase).remainder(spacing) - spacing / 2
      return (length(right, down) - radius).coverage(pixel)
    }
  }

  private static func studio(_ view: View) -> Backdrop {
    Backdrop(
      RGB(0.9, 0.89, 0.87),
      [
        (view.fade(-1, 0.5) * 0.35, RGB(0.78, 0.78, 0.78)),
        (view.below(0.5), RGB(0.72, 0.7, 0.68)),
        (view.fade(0.5, 1) * view.below(0.5), RGB(0.84, 0.82, 0.8)),
      ])
  }

  /// A page of a ruled exercise book.
  private static func paper(_ view: View) -> Backdrop {
    let rules = ((view.plane.y + 0.06).remainder(0.25) - 0.125).abs() - 0.016
    let margin = (view.plane.x + 0.8).abs() - 0.018
    return Backdrop(
      RGB(0.97, 0.93, 0.83),
      [
        (rules.coverage(view.pixel) * 0.55, RGB(0.62, 0.72, 0.82)),
        (margin.coverage(view.pixel) * 0.7, RGB(0.9, 0.5, 0.48)),
      ])
  }

  private static func grass(_ view: View) -> Backdrop {
    let blades = (view.plane.x * 9 + view.phase).remainder(1) * 0.07
    return Backdrop(
      RGB(0.45, 0.72, 0.97),
      [
        (view.fade(-1, 0.5), RGB(0.8, 0.92, 0.99)),
        (view.disc((0.66 + 0.1 * view.shift(0.1), -0.66), 0.17), RGB(1, 0.88, 0.35)),
        (view.cloud((-0.55 + 0.25 * view.shift(0.3), -0.66)), .white),
        (view.hill(0.2, swing: 0.12, wave: 2.6, 0.6), RGB(0.55, 0.82, 0.48)),
        ((blades + 0.4 - view.plane.y).coverage(view.pixel), RGB(0.36, 0.72, 0.3)),
        (view.fade(0.5, 1.1), RGB(0.24, 0.56, 0.22)),
      ])
  }

  private static func snow(_ view: View) -> Backdrop {
    func fir(_ x: Double, _ height: Double) -> Tensor {
      view.plane.polygon((x, 0.34 - height), (x + 0.2, 0.5), (x - 0.2, 0.5))
        .coverage(view.pixel)
    }
    return Backdrop(
      RGB(0.6, 0.68, 0.8),
      [
        (view.fade(-1, 0.4), RGB(0.8, 0.85, 0.92)),
        (fir(-0.78 + 0.12 * view.shift(0.2), 0.6), RGB(0.28, 0.44, 0.42)),
        (fir(0.74 + 0.12 * view.shift(0.5), 0.8), RGB(0.28, 0.44, 0.42)),
        (view.hill(0.42, swing: 0.05, wave: 3, 0.4), RGB(0.97, 0.98, 1)),
        (view.fade(0.5, 1.1), RGB(0.82, 0.88, 0.97)),
        (view.specks(spacing: 0.42, radius: 0.035), .white),
      ])
  }

  private static func beach(_ view: View) -> Backdrop {
    let crest = ((view.plane.x * 14 + view.phase * 6).sin() * 0.02 + view.plane.y - 0.2).abs() - 0.015
    return Backdrop(
      RGB(0.5, 0.8, 0.98),
      [
        (view.fade(-1, 0), RGB(0.85, 0.95, 1)),
        (view.disc((-0.62 + 0.1 * view.shift(0.4), -0.64), 0.18), RGB(1, 0.9, 0.4)),
        (view.below(0.02), RGB(0.12, 0.5, 0.75)),
        (crest.coverage(view.pixel), .white),
        (view.hill(0.4, swing: 0.05, wave: 3.2, 0.2), .white),
        (view.hill(0.46, swing: 0.05, wave: 3.2, 0.2), RGB(0.96, 0.86, 0.62)),
        (view.fade(0.6, 1.1), RGB(0.88, 0.74, 0.48)),
      ])
  }

  private static func night(_ view: View) -> Backdrop {
    let moon = (x: 0.62 + 0.1 * view.shift(0.7), y: -0.6)
    let crescent = view.plane.circle(moon, 0.22).subtracting(view.plane.circle((moon.x - 0.12, moon.y - 0.06), 0.19))
    return Backdrop(
      RGB(0.05, 0.06, 0.2), isDark: true,
      [
        (view.fade(-1, 0.6), RGB(0.16, 0.2, 0.46)),
        (view.specks(spacing: 0.46, radius: 0.03), RGB(0.95, 0.95, 0.8)),
        (crescent.coverage(view.pixel), RGB(1, 0.95, 0.7)),
        (view.hill(0.34, swing: 0.12, wave: 2.4, 0.1), RGB(0.1, 0.13, 0.3)),
        (view.hill(0.52, swing: 0.04, wave: 3.4, 0.5), RGB(0.07, 0.17, 0.2)),
      ])
  }

  private static func desert(_ view: View) -> Backdrop {
    let x = -0.74 + 0.1 * view.shift(0.9)
    let cactus = view.plane.stroke((x, -0.3), (x, 0.5), 0.075)
      .union(view.plane.stroke((x + 0.2, -0.12), (x + 0.2, 0.12), 0.05))
      .union(view.plane.stroke((x, 0.14), (x + 0.2, 0.14), 0.05))
    return Backdrop(
      RGB(0.98, 0.66, 0.4),
      [
        (view.fade(-1, 0.4), RGB(1, 0.88, 0.6)),
        (view.disc((0.5 + 0.15 * view.shift(0.3), -0.5), 0.26), RGB(1, 0.96, 0.78)),
        (view.hill(0.24, swing: 0.16, wave: 2.2, 0.3), RGB(0.86, 0.56, 0.32)),
        (cactus.coverage(view.pixel), RGB(0.3, 0.5, 0.28)),
        (view.hill(0.48, swing: 0.08, wave: 2.8, 0.8), RGB(0.93, 0.7, 0.4)),
        (view.fade(0.6, 1.1), RGB(0.82, 0.54, 0.28)),
      ])
  }

  private static func underwater(_ view: View) -> Backdrop {
    let rays = ((view.plane.x * 5 + view.plane.y * 2 + view.phase * 6).sin() * 0.6 - 0.1).clamped(min: 0, max: 1)
    let bubbles = (view.plane.circle((0.7, -0.3 + 0.2 * view.shift(0.1)), 0.09).abs() - 0.022)
      .union(view.plane.circle((0.56, -0.62 + 0.2 * view.shift(0.1)), 0.06).abs() - 0.02)
      .union(view.plane.circle((-0.72, -0.55 + 0.2 * view.shift(0.4)), 0.08).abs() - 0.022)
    let sway = (view.plane.y * 9 + view.phase * 6).sin() * 0.05
    let weeds = ((view.plane.x + 0.82 + sway).abs().union((view.plane.x - 0.86 + sway).abs()) - 0.05)
      .intersection(0.05 - view.plane.y)
    return Backdrop(
      RGB(0.2, 0.72, 0.86),
      [
        (view.fade(-1, 0.9), RGB(0.04, 0.3, 0.56)),
        (rays * (1 - view.fade(-1, 0.6)) * 0.5, RGB(0.72, 0.95, 0.98)),
        (weeds.coverage(view.pixel), RGB(0.1, 0.5, 0.36)),
        (bubbles.coverage(view.pixel), RGB(0.85, 0.97, 1)),
        (view.hill(0.66, swing: 0.05, wave: 4, 0.6), RGB(0.62, 0.62, 0.5)),
      ])
  }
}
