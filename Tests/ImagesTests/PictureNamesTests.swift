import Foundation
import Images
import TestFiles
import Testing

@Suite struct PictureNamesTests {
  private let folder: TemporaryFolder
  private let picture = Image(width: 3, height: 2, color: .black)

  init() throws { folder = try TemporaryFolder() }

  private func write(_ text: String, to name: String) throws { try Data(text.utf8).write(to: URL(filePath: folder(name))) }

  @Test("pictures are told by their first bytes, without being decoded")
  func names() throws {
    try picture.write(to: folder("b"))
    try Data(picture.png().prefix(16)).write(to: URL(filePath: folder("a.png")))
    for (name, text) in [("prompt.txt", "a dog"), (".DS_Store", "x"), ("run.json", "{}")] { try write(text, to: name) }
    #expect(try ImageFolder.pictureNames(in: folder.path) == ["a.png", "b"])
    #expect(message { _ = try ImageFolder(contentsOf: folder.path) }.contains("a.png: a truncated PNG file"))
  }

  @Test func aFolderMayHaveNone() throws {
    #expect(try ImageFolder.pictureNames(in: folder.path) == [])
    try write("x", to: ".DS_Store")
    try write("a dog", to: "prompt.txt")
    #expect(try ImageFolder.pictureNames(in: folder.path) == [])
  }

  @Test func whatIsNoPictureIsRefused() throws {
    func refusal(_ path: String) -> String { message { _ = try ImageFolder.pictureNames(in: path) } }
    #expect(refusal(folder("none")).hasSuffix("none: no such folder; expected a folder of PNG, JPEG or WebP files"))
    try write("buy milk", to: "notes.md")
    #expect(refusal(folder("notes.md")).hasSuffix("notes.md: a file; expected a folder of PNG, JPEG or WebP files"))
    #expect(refusal(folder.path).hasPrefix("\(folder("notes.md")): a text file, but a PNG"))
    try FileManager.default.removeItem(atPath: folder("notes.md"))
    try write("a dog", to: "a.txt")
    #expect(refusal(folder.path).hasPrefix("\(folder("a.txt")): a text file"))
  }

  @Test("a prompt of several lines is one prompt")
  func linesOfPrompts() throws {
    for name in ["a.png", "b.png"] { try picture.write(to: folder(name)) }
    try write(" a sbu dog,\r\n  on grass\n\nat night \n", to: "a.txt")
    try write("a\ndog", to: "prompt.txt")
    #expect(try ImageFolder(contentsOf: folder.path).pictures.map(\.prompt) == ["a sbu dog, on grass at night", "a dog"])
  }
}
