import Foundation
import Images
import TestFiles
import Testing

@Suite struct ImageFolderTests {
  /// A folder of one-pixel pictures and texts; the red of a picture is its place in `pictures`.
  func withFolder(
    pictures: [String] = [], files: [(name: String, content: String)] = [], _ body: (String) throws -> Void
  ) throws {
    let folder = try TemporaryFolder()
    for (index, name) in pictures.enumerated() {
      try Image(width: 1, height: 1, color: Color(red: UInt8(index), green: 0, blue: 0)).write(to: folder(name))
    }
    for (name, content) in files { try Data(content.utf8).write(to: URL(filePath: folder(name))) }
    try withExtendedLifetime(folder) { try body(folder.path) }
  }

  /// The message for such a folder, without the path of the temporary folder.
  func failure(pictures: [String] = [], files: [(name: String, content: String)] = []) throws -> String {
    var found = ""
    try withFolder(pictures: pictures, files: files) { folder in
      found = message { _ = try ImageFolder(contentsOf: folder) }.replacingOccurrences(of: folder, with: "FOLDER")
    }
    return found
  }

  @Test func picturesAreSortedByBytes() throws {
    try withFolder(pictures: ["b.png", "a10.webp", "B.jpeg", "a9", "\u{E9}.png", "z.png"]) { folder in
      let found = try ImageFolder(contentsOf: folder)
      #expect(found.pictures.map(\.name) == ["B.jpeg", "a10.webp", "a9", "b.png", "z.png", "\u{E9}.png"])
      #expect(found.pictures.map { Int($0.image[0, 0].red) } == [2, 1, 3, 0, 5, 4])
      #expect(found.pictures.allSatisfy { $0.prompt == nil })
    }
  }

  @Test func hiddenFilesAreIgnored() throws {
    let files = [".DS_Store", "._a.png", ".a.txt", "Thumbs.db", "desktop.ini"].map { (name: $0, content: "x") }
    try withFolder(pictures: ["a.png"], files: files) { folder in
      let found = try ImageFolder(contentsOf: folder + "/")
      #expect(found.pictures.map(\.name) == ["a.png"])
    }
  }

  @Test("records of the runs that made the pictures are passed over, other JSON is not")
  func recordsAreIgnored() throws {
    try withFolder(pictures: ["a.png"], files: [("a.png.json", "{}"), ("run.json", "{}")]) { folder in
      let found = try ImageFolder(contentsOf: folder)
      #expect(found.pictures.map(\.name) == ["a.png"])
    }
    #expect(try failure(pictures: ["a.png"], files: [("b.png.json", "{}")]).hasPrefix("FOLDER/b.png.json: a text file"))
  }

  @Test func promptsFindTheirPictures() throws {
    let files = [
      (name: "a.txt", content: "\u{FEFF} a red dog \n"), (name: "prompt.txt", content: "a dog"),
      (name: "prompts.txt", content: "b.png: a blue dog\n\nc:d.png: a dog: with a colon\r\n"),
    ]
    try withFolder(pictures: ["a.png", "b.png", "c:d.png", "e.png"], files: files) { folder in
      let prompts = try ImageFolder(contentsOf: folder).pictures.map(\.prompt)
      #expect(prompts == ["a red dog", "a blue dog", "a dog: with a colon", "a dog"])
    }
  }

  @Test("captions and kept files of sd-scripts")
  func captions() throws {
    let kept = ["a.npz", "a_1024x1024_sdxl.npz", "b_sdxl.npz"].map { (name: $0, content: "PK\u{3}\u{4}") }
    let files = [(name: "a.caption", content: "a red dog"), (name: "b.txt", content: "a blue dog")] + kept
    try withFolder(pictures: ["a.png", "b.png"], files: files) { folder in
      let found = try ImageFolder(contentsOf: folder)
      #expect(found.pictures.map(\.name) == ["a.png", "b.png"])
      #expect(found.pictures.map(\.prompt) == ["a red dog", "a blue dog"])
      #expect(found.pictures.map(\.repeats) == [1, 1])
      #expect(found.captions == ["a.caption", "b.txt"])
    }
    for name in ["c.npz", "ab.npz"] {
      let others = [(".DS_Store", "x"), (name, "PK\u{3}\u{4}")]
      #expect(try failure(pictures: ["a.png"], files: others).hasPrefix("FOLDER/\(name): "))
    }
    #expect(
      try failure(pictures: ["a.png"], files: [("a.caption", "a dog"), ("a.txt", "a cat")])
        == "FOLDER/a.txt: a second prompt for a.png, which has one from FOLDER/a.caption; remove one of them")
  }

  @Test("folders of sd-scripts say how often their pictures are shown, and of what")
  func repeatedFolders() throws {
    let folder = try TemporaryFolder()
    func add(_ pictures: String..., to name: String) throws {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
      for picture in pictures { try Image(width: 1, height: 1, color: .black).write(to: folder("\(name)/\(picture)")) }
    }
    try add("b.png", "a.png", to: "10_sbu dog")
    try add("c.png", to: "2_sbu dog_asleep")
    try add("d.png", to: "3_")
    try add("e.png", to: "4")
    try Data("a sbu dog on grass".utf8).write(to: URL(filePath: folder("10_sbu dog/b.txt")))
    try Data("x".utf8).write(to: URL(filePath: folder(".DS_Store")))
    let found = try ImageFolder(contentsOf: folder.path)
    #expect(
      found.pictures.map(\.name) == ["10_sbu dog/a.png", "10_sbu dog/b.png", "2_sbu dog_asleep/c.png", "3_/d.png", "4/e.png"])
    #expect(found.pictures.map(\.prompt) == ["sbu dog", "a sbu dog on grass", "sbu dog_asleep", nil, nil])
    #expect(found.pictures.map(\.repeats) == [10, 10, 2, 3, 4])
    #expect(found.captions == ["10_sbu dog/b.txt"])
    #expect(try ImageFolder.pictureNames(in: folder.path) == found.pictures.map(\.name))

    for other in ["e.png", "notes", "0_dogs", "2024_summer"] {
      try add(to: other)
      #expect(
        message { _ = try ImageFolder(contentsOf: folder.path) }
          == "\(folder(other)): beside a folder of pictures and how often they are shown (10_sbu dog); "
          + "expected nothing but such folders")
      try FileManager.default.removeItem(atPath: folder(other))
    }
    try add(to: "10_sbu dog/more")
    #expect(
      message { _ = try ImageFolder(contentsOf: folder.path) }.hasPrefix("\(folder("10_sbu dog/more")): a folder; expected"))
  }

  @Test func somethingElseInTheFolderIsNamed() throws {
    #expect(
      try failure(pictures: ["a.png"], files: [("notes.txt", "buy milk")])
        == "FOLDER/notes.txt: a text file, but a PNG, JPEG or WebP picture is expected; "
        + "remove it; a caption has the name of its picture, as a.txt beside a.png")
    #expect(
      try failure(pictures: ["a.png"], files: [("notes.md", "buy milk")])
        == "FOLDER/notes.md: a text file, but a PNG, JPEG or WebP picture is expected; remove it or give the path of a picture")
    #expect(
      try failure(files: [("a.png", "\u{1}\u{2}")])
        == "FOLDER/a.png: a file of unknown kind, but a PNG, JPEG or WebP picture is expected; remove it or convert it to PNG")
    try withFolder(pictures: ["a.png"]) { folder in
      try FileManager.default.createDirectory(atPath: folder + "/more", withIntermediateDirectories: false)
      #expect(message { _ = try ImageFolder(contentsOf: folder) }.hasPrefix("\(folder)/more: a folder; expected"))
      try FileManager.default.removeItem(atPath: folder + "/more")
      // Who opens a pipe waits for somebody to write into it.
      #expect(mkfifo(folder + "/pipe.png", 0o600) == 0)
      #expect(message { _ = try ImageFolder(contentsOf: folder) }.hasPrefix("\(folder)/pipe.png: no regular file; expected"))
      try FileManager.default.removeItem(atPath: folder + "/pipe.png")
      try Data(count: (1 << 20) + 1).write(to: URL(filePath: folder + "/a.txt"))
      #expect(
        message { _ = try ImageFolder(contentsOf: folder) }
          == "\(folder)/a.txt: more than 1048576 bytes, which is no prompt; remove it")
      try FileManager.default.removeItem(atPath: folder + "/a.txt")
      let broken = try Data(Image(width: 4, height: 4, color: .black).png().dropLast(13))
      try broken.write(to: URL(filePath: folder + "/b.png"))
      #expect(message { _ = try ImageFolder(contentsOf: folder) }.hasPrefix("\(folder)/b.png: a truncated PNG file"))
    }
  }

  @Test func promptsWithoutPicturesAreErrors() throws {
    #expect(try failure(files: [("a.txt", "a dog")]).hasPrefix("FOLDER/a.txt: a text file"))
    #expect(
      try failure(files: [("prompt.txt", "a dog")])
        == "FOLDER: no pictures in this folder; expected PNG, JPEG or WebP files")
    #expect(
      try failure(pictures: ["a.png"], files: [("prompts.txt", "b.png: a dog")])
        == "FOLDER/prompts.txt: no picture for the line \"b.png: a dog\"; expected FILE: PROMPT with a picture of this folder")
    #expect(
      try failure(pictures: ["a.png"], files: [("prompts.txt", "a.png:")])
        == "FOLDER/prompts.txt: no prompt after \"a.png:\"")
    #expect(
      try failure(pictures: ["a.png"], files: [("a.txt", " \n")])
        == "FOLDER/a.txt: empty or not UTF-8; expected a prompt as UTF-8 text")
    #expect(
      try failure(pictures: ["a.png"], files: [("a.txt", "a dog"), ("prompts.txt", "a.png: a cat")])
        == "FOLDER/prompts.txt: a second prompt for a.png, which has one from FOLDER/a.txt; remove one of them")
  }

  @Test func foldersThatAreNoneAreErrors() throws {
    #expect(try failure() == "FOLDER: no pictures in this folder; expected PNG, JPEG or WebP files")
    #expect(
      message { _ = try ImageFolder(contentsOf: "/nowhere") }
        == "/nowhere: no such folder; expected a folder of PNG, JPEG or WebP files")
    let file = fixturePath("rgb-8.png")
    #expect(
      message { _ = try ImageFolder(contentsOf: file) } == "\(file): a file; expected a folder of PNG, JPEG or WebP files")
  }
}
