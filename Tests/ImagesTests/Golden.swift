import Foundation
import Images
import Testing

/// What Scripts/goldens/images_golden.py says the fixtures hold.
struct Golden: Decodable {
  struct Pixels: Decodable {
    let width: Int
    let height: Int
    let rgb: Data

    var image: Image { Image(width: width, height: height, pixels: [UInt8](rgb)) }
  }

  struct Picture: Decodable, CustomTestStringConvertible {
    let file: String
    /// How far a sample may be from another decoder's, in steps of 1/255.
    let tolerance: Int
    let width: Int
    let height: Int
    let rgb: Data

    var image: Image { Image(width: width, height: height, pixels: [UInt8](rgb)) }
    var testDescription: String { file }
  }

  struct Scaling: Decodable {
    struct Result: Decodable, CustomTestStringConvertible {
      let resampling: String
      let width: Int
      let height: Int
      let rgb: Data

      var image: Image { Image(width: width, height: height, pixels: [UInt8](rgb)) }
      var testDescription: String { "\(resampling) \(width) x \(height)" }
    }

    let source: Pixels
    let results: [Result]
  }

  let pictures: [Picture]
  let oriented: [Pixels]
  let scaling: Scaling

  static let shared: Golden = {
    do {
      return try JSONDecoder().decode(Golden.self, from: Data(fixture("expected.json")))
    } catch {
      preconditionFailure("expected.json: \(error)")
    }
  }()
}

func fixturePath(_ name: String) -> String {
  Bundle.module.resourceURL!.appending(path: "Fixtures").appending(path: name).path(percentEncoded: false)
}

func fixture(_ name: String) throws -> [UInt8] {
  try [UInt8](Data(contentsOf: URL(filePath: fixturePath(name))))
}

/// Compares sample by sample and says where the largest difference is.
func expectClose(_ image: Image, _ expected: Image, tolerance: Int = 0, sourceLocation: SourceLocation = #_sourceLocation) {
  guard image.width == expected.width, image.height == expected.height else {
    Issue.record(
      "\(image.width) x \(image.height) instead of \(expected.width) x \(expected.height)", sourceLocation: sourceLocation)
    return
  }
  let differences = zip(image.pixels, expected.pixels).map { abs(Int($0) - Int($1)) }
  let largest = differences.max()!
  let offset = differences.firstIndex(of: largest)!
  let place = "(\(offset / 3 % image.width), \(offset / 3 / image.width)) channel \(offset % 3)"
  #expect(
    largest <= tolerance,
    "largest difference \(largest) at \(place): \(image.pixels[offset]) instead of \(expected.pixels[offset])",
    sourceLocation: sourceLocation)
}

/// The message of the error that `body` throws.
func message(sourceLocation: SourceLocation = #_sourceLocation, of body: () throws -> Void) -> String {
  do {
    try body()
  } catch {
    return "\(error)"
  }
  Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  return ""
}
