import Images
import Testing

@Suite struct ResizingTests {
  /// The arithmetic is Pillow's, so equality is expected, not closeness.
  @Test(arguments: Golden.shared.scaling.results)
  func equalsPillow(_ expected: Golden.Scaling.Result) throws {
    let resampling = try #require(Resampling(rawValue: expected.resampling))
    let source = Golden.shared.scaling.source.image
    expectClose(source.resized(width: expected.width, height: expected.height, resampling: resampling), expected.image)
  }

  @Test(arguments: Resampling.allCases)
  func aFlatPictureStaysFlat(_ resampling: Resampling) {
    let color = Color(red: 3, green: 128, blue: 255)
    let image = Image(width: 31, height: 17, color: color)
    for (width, height) in [(7, 90), (100, 3), (31, 17)] {
      let resized = image.resized(width: width, height: height, resampling: resampling)
      #expect(resized == Image(width: width, height: height, color: color))
    }
  }

  @Test func croppingKeepsTheMiddle() {
    let image = Golden.shared.scaling.source.image  // 37 x 29
    let square = image.croppedSquare()
    #expect((square.width, square.height) == (29, 29))
    #expect(square[0, 0] == image[4, 0])
    #expect(square[28, 28] == image[32, 28])
    let wide = image.centerCropped(toAspect: 2, 1)
    #expect((wide.width, wide.height) == (37, 19))
    #expect(wide[36, 0] == image[36, 5])
    let tall = image.centerCropped(toAspect: 1, 1000)
    #expect((tall.width, tall.height) == (1, 29))
    #expect(image.centerCropped(toAspect: 37, 29) == image)
    let part = image.cropped(x: 30, y: 20, width: 7, height: 9)
    #expect(part[6, 8] == image[36, 28])
  }

  @Test func fillingCutsThenScales() {
    let image = Golden.shared.scaling.source.image
    #expect(image.filling(width: 8, height: 8) == image.croppedSquare().resized(width: 8, height: 8))
  }

  @Test func magnifyingRepeatsPixels() {
    let image = Golden.shared.scaling.source.image
    let magnified = image.magnified(by: 3)
    #expect((magnified.width, magnified.height) == (111, 87))
    for y in 0..<87 {
      for x in 0..<111 where magnified[x, y] != image[x / 3, y / 3] {
        Issue.record("(\(x), \(y)) is another colour")
      }
    }
  }
}
