import Foundation
import SafeTensors
import TestFiles
import Testing

struct AtomicFileTests {
  private struct Failure: Error {}
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func text(_ name: String) throws -> String { try String(contentsOfFile: folder(name), encoding: .utf8) }

  private func refusal(_ path: String, overwrite: Bool = false) -> String? {
    let error = #expect(throws: AtomicFileError.self) { try AtomicFile.write("new", to: path, overwrite: overwrite) }
    return error?.description
  }

  @Test func writesTextBytesAndPieces() throws {
    try AtomicFile.write("größer", to: folder("text"))
    #expect(try text("text") == "größer")
    try AtomicFile.write(Data([1, 2, 3]), to: folder("data"))
    #expect(try Data(contentsOf: URL(filePath: folder("data"))) == Data([1, 2, 3]))
    try AtomicFile.write(to: folder("pieces")) { output in
      for piece in ["a", "", "bc"] { try Array(piece.utf8).withUnsafeBytes(output.append) }
    }
    #expect(try text("pieces") == "abc")
    try AtomicFile.write("", to: folder("empty"))
    #expect(try folder.names == ["data", "empty", "pieces", "text"])
  }

  @Test func longestNameAndUsersMask() throws {
    let name = String(repeating: "n", count: 255)
    try AtomicFile.write("x", to: folder(name))
    #expect(try folder.names == [name])
    let mask = umask(0)
    umask(mask)
    let mode = try FileManager.default.attributesOfItem(atPath: folder(name))[.posixPermissions] as? NSNumber
    #expect(mode?.uint32Value == 0o666 & ~UInt32(mask))
  }

  @Test func replacesOnlyWhenTold() throws {
    try AtomicFile.write("old", to: folder("f"))
    #expect(refusal(folder("f")) == "\(folder("f")): exists already; choose another name or allow overwriting")
    #expect(try text("f") == "old")
    try AtomicFile.write("new", to: folder("f"), overwrite: true)
    #expect(try text("f") == "new")
    #expect(try folder.names == ["f"])
  }

  @Test func refusesBeforeTheBodyRuns() throws {
    try AtomicFile.write("old", to: folder("f"))
    #expect(throws: AtomicFileError.self) {
      try AtomicFile.write(to: folder("f")) { _ in Issue.record("hours of work for nothing") }
    }
  }

  @Test func aFileThatAppearsMeanwhileStays() throws {
    #expect(throws: AtomicFileError.self) {
      try AtomicFile.write(to: folder("f")) { output in
        try "theirs".write(toFile: folder("f"), atomically: false, encoding: .utf8)
        try Array("ours".utf8).withUnsafeBytes(output.append)
      }
    }
    #expect(try text("f") == "theirs")
    #expect(try folder.names == ["f"])
  }

  @Test(arguments: [false, true])
  func aFailureLeavesNothing(overwrite: Bool) throws {
    if overwrite { try AtomicFile.write("old", to: folder("f")) }
    #expect(throws: Failure.self) {
      try AtomicFile.write(to: folder("f"), overwrite: overwrite) { output in
        try Array("half".utf8).withUnsafeBytes(output.append)
        #expect(try folder.names.contains { $0.hasSuffix(".partial") })
        throw Failure()
      }
    }
    #expect(try folder.names == (overwrite ? ["f"] : []))
    if overwrite { #expect(try text("f") == "old") }
  }

  @Test func aLinkIsReplacedAndNotFollowed() throws {
    try AtomicFile.write("shared", to: folder("blob"))
    try FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: folder("blob"))
    try AtomicFile.write("mine", to: folder("link"), overwrite: true)
    #expect(try text("blob") == "shared")
    #expect(try text("link") == "mine")
    try FileManager.default.createSymbolicLink(atPath: folder("dangling"), withDestinationPath: folder("nowhere"))
    #expect(refusal(folder("dangling"))?.contains("exists already") == true)
  }

  @Test func impossiblePlaces() throws {
    try AtomicFile.write("x", to: folder("f"))
    try FileManager.default.createDirectory(atPath: folder("sub"), withIntermediateDirectories: false)
    let missing = folder("no")
    #expect(refusal(missing + "/f") == "\(missing)/f: cannot be written, the folder \(missing) does not exist; create it first")
    #expect(refusal(folder("f/g")) == "\(folder("f/g")): cannot be written, \(folder("f")) is not a folder")
    for path in [folder("sub"), folder("sub/"), folder("new/")] {
      #expect(refusal(path, overwrite: true)?.hasPrefix("\(path): ") == true)
    }
    #expect(refusal(folder("sub"), overwrite: true) == "\(folder("sub")): is a folder, expected the path of a file")
    #expect(try folder.names == ["f", "sub"])
  }

  @Test(.enabled(if: geteuid() != 0, "the superuser may write anywhere"))
  func aFolderWithoutPermission() throws {
    chmod(folder.path, 0o555)
    defer { chmod(folder.path, 0o755) }
    #expect(
      refusal(folder("f"))
        == "\(folder("f")): cannot be written, no permission to write in the folder \(folder.path)")
  }

  @Test(arguments: [
    (ENOSPC, "the disk (or quota) of the folder d is full; free some space"),
    (EROFS, "no permission to write in the folder d"),
    (EACCES, "no permission to write in the folder d"),
    (EFBIG, "failed to write: File too large"),
  ])
  func theSystemsRefusals(code: Int32, message: String) {
    let error = AtomicFileError("d/f", folder: "d", operation: "write", code: code)
    #expect(error.description == "d/f: cannot be written, " + message)
  }

  @Test func ofManyWritersOneWins() async throws {
    let path = folder("f")
    let winners = await withTaskGroup(of: Int?.self, returning: [Int].self) { group in
      for writer in 0..<12 {
        group.addTask { (try? AtomicFile.write(String(repeating: "\(writer) ", count: 999), to: path)).map { writer } }
      }
      return await group.reduce(into: []) { $0 += $1.map { [$0] } ?? [] }
    }
    try #require(winners.count == 1)
    #expect(try text("f") == String(repeating: "\(winners[0]) ", count: 999))
    #expect(try folder.names == ["f"])
  }

  @Test func readersSeeWholeFilesOnly() async throws {
    let path = folder("f.safetensors")
    try SafeTensorsFile.write([source("t", .F32, [1])], to: path)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for size in 2..<12 {
        group.addTask { try SafeTensorsFile.write([source("t", .F32, [size * 99])], to: path, overwrite: true) }
        group.addTask {
          try SafeTensorsFile(path: path).withBytes(of: "t") { bytes in
            #expect(bytes.elementsEqual(pattern("t", count: bytes.count)))
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try folder.names == ["f.safetensors"])
  }
}
