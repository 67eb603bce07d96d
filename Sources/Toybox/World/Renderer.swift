internal import Foundation
public import Torch

extension Scene {
  /// The picture [3, size, size], RGB in 0...1, float32.
  ///
  /// - Parameter size: pixels a side, a multiple of 16.
  public func render(size: Int = 64) -> Tensor {
    precondition(size > 0 && size.isMultiple(of: 16), "a picture of \(size) pixels: expected a multiple of 16")
    return withoutGrad { Renderer(self, size: size).picture() }
  }
}

/// The pictures of several scenes [N, 3, size, size], uint8.
public func renderBatch(_ scenes: [Scene], size: Int = 64) -> Tensor {
  let pictures = Tensor.empty([scenes.count, 3, size, size], dtype: .uint8)
  for (index, scene) in scenes.enumerated() {
    pictures[index].copyInPlace((scene.render(size: size) * 255).rounded())
  }
  return pictures
}

/// Draws one scene: the figure is composed front to back into one weight per layer and pixel, so that all colours enter
/// with a single matrix product; backdrop, tone and texture follow.
private struct Renderer {
  let scene: Scene
  let size: Int
  let plane: Plane
  /// Width of a pixel in the units of the picture and of the figure.
  let pixel, figurePixel: Double

  var style: Style { scene.style }

  init(_ scene: Scene, size: Int) {
    (self.scene, self.size) = (scene, size)
    pixel = 2 / Double(size)
    figurePixel = pixel / scene.pose.scale
    let straight = Plane(size: size)
    plane = scene.style.texture == .wobbly ? straight.bent(scene.pose.phase) : straight
  }

  func picture() -> Tensor {
    let backdrop = Backdrop.of(scene, on: plane, pixel: pixel * 1.5)
    let pose = scene.pose
    let figurePlane = Plane(
      x: (plane.x - pose.x) * ((pose.isMirrored ? -1 : 1) / (pose.scale * scene.identity.width)),
      y: (plane.y - pose.y) * (1 / pose.scale))
    let layers = scene.subjectClass.layers(on: figurePlane, proportion: scene.identity.proportion)
    let outline = layers.dropFirst().reduce(layers[0].distance) { $0.union($1.distance) }
    let behind = surrounded(paint(backdrop), outline, isDark: backdrop.isDark)
    let figure = compose(layers, on: figurePlane, isDark: backdrop.isDark)
    let picture = blend(figure, over: behind, outline: outline, isDark: backdrop.isDark)
    return textured(toned(picture)).clamped(min: 0, max: 1)
  }

  // MARK: Backdrop

  private func paint(_ backdrop: Backdrop) -> Tensor {
    var rest: Tensor?
    var weights: [Tensor] = []
    let shape = [size, size]
    for wash in backdrop.washes.reversed() {
      let weight = rest.map { $0 * wash.mask } ?? wash.mask
      weights.append(weight.expanded(shape))
      rest = rest.map { $0 - weight } ?? (1 - weight)
    }
    weights.append((rest ?? Tensor.ones(shape)).expanded(shape))
    return colored(weights, backdrop.washes.reversed().map(\.color) + [backdrop.base])
  }

  /// A soft edge around the figure (and its shadow on the ground), so that it stands out from a ground of its own colour.
  private func surrounded(_ behind: Tensor, _ outline: Tensor, isDark: Bool) -> Tensor {
    if style.fill == .empty { return behind }
    var shade = (outline * -9).exp().clamped(max: 1) * (isDark ? 0.34 : 0.17)
    if style.fill == .shaded && !isDark {
      let pose = scene.pose
      let ground = plane.ellipse((pose.x, pose.y + 0.88 * pose.scale), 0.7 * pose.scale, 0.13 * pose.scale)
      shade = shade.maximum((ground * -6 + 0.25).clamped(min: 0, max: 0.45))
    }
    return behind * (1 - shade) + shade * (isDark ? 0.85 : 0.03)
  }

  // MARK: Figure

  /// What the figure adds to the picture.
  private struct Figure {
    /// Colours [3, H, W], lines apart, already weighted by the coverage.
    var color: Tensor
    /// What hides the backdrop, and the lines alone, [H, W] in 0...1.
    var coverage: Tensor
    var lines: Tensor?
  }

  /// Composes the layers front to back. `rest` is the light that still passes.
  private func compose(_ layers: [Layer], on figurePlane: Plane, isDark: Bool) -> Figure {
    var rest = Tensor.ones([size, size])
    var coverage = Tensor.zeros([size, size])
    var lines: Tensor?
    var weights: [Tensor] = []
    var colors: [RGB] = []
    let marking = markingMask(figurePlane)
    let edge = figurePixel * 1.5
    for layer in layers.reversed() {
      if let halfWidth = lineWidth(layer) {
        let line = (layer.distance.abs() - halfWidth).coverage(edge) * rest
        (rest, coverage) = (rest - line, coverage + line)
        lines = lines.map { $0 + line } ?? line
      }
      var weight = layer.distance.coverage(edge) * rest
      rest = rest - weight
      if style.fill == .empty && layer.role != .ink { continue }
      coverage = coverage + weight
      if style.fill == .shaded && layer.role != .ink {
        weight = weight * ((layer.distance * -2.2).clamped(min: 0, max: 0.4) + 0.72)
      }
      if layer.role == .primary, let marking {
        let marked = weight * marking
        weights.append(marked)
        colors.append(color(of: .secondary))
        weight = weight - marked
      }
      weights.append(weight)
      colors.append(layer.role == .ink ? inkColor(on: layer.ground, isDark: isDark) : color(of: layer.role))
    }
    return Figure(color: filled(weights, colors), coverage: coverage, lines: lines)
  }

  private func filled(_ weights: [Tensor], _ colors: [RGB]) -> Tensor {
    guard !weights.isEmpty else { return Tensor.zeros([3, size, size]) }
    let solid = colored(weights, colors)
    switch style.fill {
    case .flat, .empty: return solid
    case .shaded: return solid * (1.1 - plane.x * 0.12 - plane.y * 0.2)
    case .hatched, .dotted: return colored(weights, colors.map(\.gap)).lerp(solid, patternMask())
    }
  }

  private func color(of role: Layer.Role) -> RGB {
    switch role {
    case .primary: scene.identity.primary.rgb
    case .secondary: scene.identity.secondary.rgb
    case .accent: scene.identity.accent.rgb
    case .dark: RGB(0.22, 0.22, 0.26)
    case .light: .white
    case .ink: .ink
    }
  }

  private func inkColor(on ground: Layer.Role, isDark: Bool) -> RGB {
    if style.fill == .empty { return lineColor(isDark: isDark) }
    return color(of: ground).luminance < 0.2 ? .white : .ink
  }

  /// Half the width of a layer's outline, in units of the figure; nil without outlines.
  private func lineWidth(_ layer: Layer) -> Double? {
    if layer.role == .ink { return nil }
    switch style.line {
    case .none: return nil
    case .thin: return layer.isDetail ? 0.014 : 0.019
    case .thick: return layer.isDetail ? 0.022 : 0.052
    }
  }

  private func lineColor(isDark: Bool) -> RGB {
    if case .neon(let color) = style.tone { return color.rgb.mixed(.white, 0.35) }
    return isDark ? RGB(0.62, 0.84, 1) : .ink
  }

  private func markingMask(_ figurePlane: Plane) -> Tensor? {
    switch scene.identity.marking {
    case .none: nil
    case .stripes: ((figurePlane.x * 15 + figurePlane.y * 4).sin() * 3 + 0.4).clamped(min: 0, max: 1)
    case .spots: figurePlane.turned(0.6, about: (0.05, 0.05)).dots(spacing: 0.34, threshold: 0.6, sharpness: 3)
    }
  }

  /// Strokes or dots over the whole picture: 1 where the colour is, 0 in the gaps.
  private func patternMask() -> Tensor {
    // Three blocks of pixels to a period instead of six pixels.
    let coarseness = style.texture == .pixel ? 2.0 : 1
    return style.fill == .hatched
      ? (((plane.x + plane.y) * (26 / coarseness)).sin() * 2.5 + 0.6).clamped(min: 0, max: 1)
      : plane.dots(spacing: 0.1875 * coarseness, threshold: 0.25, sharpness: 1.6)
  }

  private func blend(_ figure: Figure, over behind: Tensor, outline: Tensor, isDark: Bool) -> Tensor {
    var picture = behind * (1 - figure.coverage) + figure.color
    if case .neon(let color) = style.tone {
      // The world goes dark; only the lines and the halo around the figure glow.
      picture = picture * 0.22 + column(color.rgb) * (luminance(picture) * 0.22 + (outline.abs() * -9).exp() * 0.7)
    }
    return figure.lines.map { picture + column(lineColor(isDark: isDark)) * $0 } ?? picture
  }

  // MARK: Tone and texture

  private func toned(_ picture: Tensor) -> Tensor {
    switch style.tone {
    case .color, .neon: return picture
    case .pastel: return picture * 0.5 + 0.48
    case .gray: return luminance(picture).expanded(picture.shape)
    case .duotone(let dark, let bright):
      let share = ((luminance(picture) - 0.14) * (1 / 0.72)).clamped(min: 0, max: 1)
      return column(dark.rgb).lerp(column(bright.rgb), share)
    }
  }

  private func textured(_ picture: Tensor) -> Tensor {
    switch style.texture {
    case .clean, .wobbly: return picture
    case .pixel:
      return picture.unsqueezed(0).averagePooled(size / 16).upsampledNearest(height: size, width: size)[0]
    case .canvas:
      // Threads over and under each other, 16 a side, some light caught also where the picture is dark.
      let weave = Plane(size: size)
      let threads = (weave.x * (16 * Double.pi)).sin() * (weave.y * (16 * Double.pi)).sin() * 0.5 + 0.5
      return picture * (1 - threads * 0.2) + (1 - threads) * 0.07
    }
  }

  // MARK: Colours

  /// Σ weight · colour, [3, H, W].
  private func colored(_ weights: [Tensor], _ colors: [RGB]) -> Tensor {
    let matrix = Tensor(
      [colors.map(\.red), colors.map(\.green), colors.map(\.blue)].flatMap { $0.map(Float.init) },
      shape: [3, colors.count])
    let pixels = Tensor.stacked(weights).reshaped(colors.count, size * size)
    return matrix.matmul(pixels).reshaped(3, size, size)
  }

  private func column(_ color: RGB) -> Tensor {
    Tensor([Float(color.red), Float(color.green), Float(color.blue)], shape: [3, 1, 1])
  }

  private func luminance(_ picture: Tensor) -> Tensor {
    picture[0] * 0.299 + picture[1] * 0.587 + picture[2] * 0.114
  }
}

extension RGB {
  /// What shows between strokes and dots of this colour: a lighter shade, for bright colours a darker one.
  fileprivate var gap: RGB { luminance < 0.62 ? mixed(.white, 0.72) : mixed(.ink, 0.36) }
}

extension Plane {
  /// Seen through an unsteady hand.
  fileprivate func bent(_ phase: Double) -> Plane {
    let turn = 2 * Double.pi * phase
    return Plane(
      x: x + ((y * 9 + turn).sin() * 0.045 + (y * 21 + 2 * turn).sin() * 0.016),
      y: y + ((x * 8 + 3 * turn).sin() * 0.045 + (x * 19 + 5 * turn).sin() * 0.016))
  }
}
