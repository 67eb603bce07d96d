import Foundation
import Images
import TestFiles
import Testing
import Torch
import Training

/// `ziplora toybox examples` writes what is shipped in Examples/Toybox.
@Suite struct ToyboxExamplesTests {
  let folder: TemporaryFolder
  private let shipped = "\(repository)/Examples/Toybox"

  init() throws { folder = try TemporaryFolder() }

  private func files(_ path: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: path).filter { $0.contains(".") }.sorted()
  }

  @Test func areThoseThatAreShipped() throws {
    let output = try Binary.succeed("toybox", "examples", "--output", folder("examples"))
    let names = try files(folder("examples"))
    #expect(try names == files(shipped) && names.count == 6 * 6 + 8 * 2)
    let folders = Set(names.map { URL(filePath: folder("examples/\($0)")).deletingLastPathComponent().path })
    #expect(Set(output.split(separator: "\n").map(String.init)) == folders)
    for name in names {
      let (written, expected) = (folder("examples/\(name)"), "\(shipped)/\(name)")
      guard name.hasSuffix(".png") else {
        #expect(try bytes(written) == bytes(expected), "\(name)")
        continue
      }
      let (picture, other) = (try Image(contentsOf: written).tensor, try Image(contentsOf: expected).tensor)
      try #require(picture.shape == other.shape, "\(name)")
      // Other processors may round a sum differently, other versions of zlib pack the same pixels otherwise.
      let difference = (picture - other).abs().max().item() * 255
      #expect(difference <= 1.001, "\(name): largest difference \(difference) of 255")
    }
  }

  @Test func areNotReplacedUnasked() throws {
    let command = ["toybox", "examples", "--output", folder.path]
    try FileManager.default.createDirectory(atPath: folder("subjects/cat"), withIntermediateDirectories: true)
    try Data("mine".utf8).write(to: URL(filePath: folder("subjects/cat/1.png")))
    let refused = try Binary.run(command)
    #expect(refused.status == 1)
    #expect(refused.errors.contains("subjects/cat/1.png: exists already; choose another name"), "\(refused.errors)")
    #expect(try bytes(folder("subjects/cat/1.png")) == Data("mine".utf8))
    try #require(try Binary.run(command + ["--overwrite"]).status == 0)
    #expect(try Image(contentsOf: folder("subjects/cat/1.png")).width == 64)
  }
}
