import Foundation
import Images
import SafeTensors
import TestFiles
import Testing

@Suite struct EncodingTests {
  let image = Golden.shared.scaling.source.image

  @Test func pixelsComeBack() throws {
    for image in [image, Image(width: 1, height: 1, color: Color(red: 1, green: 2, blue: 3))] {
      expectClose(try Image(decoding: image.png(), name: "memory"), image)
    }
  }

  @Test func theSamePictureGivesTheSameBytes() throws {
    let text = [(key: "prompt", value: "a dog")]
    #expect(try image.png(text: text) == image.png(text: text))
    #expect(try image.png(text: text) != image.png())
  }

  static let texts: [(key: String, value: String)] = [
    ("prompt", "a [V] dog\nin crayon style"), ("Author", "Gr\u{E9}goire \u{A9}"), ("seed", "7"), ("seed", "8"),
    ("empty", ""), ("na\u{EF}ve key", "ein H\u{FC}ndchen \u{1F436} \u{732B}"), (String(repeating: "k", count: 79), "long"),
    ("settings", String(repeating: "{\"steps\": 50} ", count: 5000)),
  ]

  @Test func textComesBackInOrder() throws {
    let bytes = try image.png(text: Self.texts)
    let found = try Image.pngText(of: bytes)
    #expect(found.map(\.key) == Self.texts.map(\.key))
    #expect(found.map(\.value) == Self.texts.map(\.value))
    expectClose(try Image(decoding: bytes, name: "memory"), image)
  }

  /// Other programs must find the text where PNG puts it: Latin-1 in tEXt, all else in iTXt.
  @Test func chunksAreThoseOfTheSpecification() throws {
    let bytes = try image.png(text: [("Author", "\u{E9}"), ("cat", "\u{732B}")])
    let latin1 = Array("tEXtAuthor\0".utf8) + [0xE9]
    let utf8 = Array("iTXtcat\0\0\0\0\0\u{732B}".utf8)
    for chunk in [latin1, utf8] {
      let positions = bytes.indices.filter { bytes[$0...].starts(with: chunk) }
      #expect(positions.count == 1)
    }
  }

  @Test func textOfOtherProgramsIsRead() throws {
    let found = try Image.pngText(of: fixture("texts.png"))
    #expect(found.map(\.key) == ["Title", "parameters", "prompt", "workflow", "Comment"])
    #expect(
      found.map(\.value) == [
        "na\u{EF}ve", "steps: 30\nseed: 7", "ein H\u{FC}ndchen \u{1F436}", "gr\u{F6}\u{DF}er", "behind the pixels",
      ])
  }

  @Test(arguments: [
    ("", "a key is 1 to 79 Latin-1 characters"),
    (String(repeating: "k", count: 80), "a key is 1 to 79 Latin-1 characters"),
    ("\u{732B}", "a key is 1 to 79 Latin-1 characters"),
    ("a\nb", "a key has printable characters only"),
    (" a", "a key has no leading, trailing or double spaces"),
    ("a  b", "a key has no leading, trailing or double spaces"),
  ])
  func badKeysAreRefused(key: String, reason: String) {
    #expect(throws: ImageError.invalidText(key: key, reason: reason)) { try image.png(text: [(key, "value")]) }
  }

  @Test func badValuesAreRefused() {
    #expect(
      message { _ = try image.png(text: [("prompt", "a\0b")]) }
        == "PNG text \"prompt\": the value contains U+0000, which ends a text in PNG")
  }

  @Test func textOfOtherFilesIsRefused() throws {
    #expect(
      message { _ = try Image.pngText(of: fixture("444.jpg"), name: "a.png") }
        == "a.png: a JPEG file that cannot be read (only PNG text can be read); convert it to a plain PNG or JPEG")
    let bytes = try fixture("texts.png")
    for count in 0..<bytes.count {
      #expect(throws: ImageError.self) { try Image.pngText(of: Array(bytes.prefix(count))) }
    }
  }

  @Test func filesAreReplacedOnlyWhenAsked() throws {
    let folder = try TemporaryFolder()
    let path = folder("a.png")
    try image.write(to: path, text: [("seed", "7")])
    #expect(try Image(contentsOf: path) == image)
    let other = Image(width: 2, height: 2, color: .black)
    #expect(throws: AtomicFileError.self) { try other.write(to: path) }
    #expect(try Image(contentsOf: path) == image)
    try other.write(to: path, overwrite: true)
    #expect(try Image(contentsOf: path) == other)
    #expect(try folder.names == ["a.png"])
  }
}
