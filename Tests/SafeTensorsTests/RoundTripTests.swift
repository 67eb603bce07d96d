import Foundation
import OrderedCollections
import SafeTensors
import TestFiles
import Testing

struct RoundTripTests {
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  @Test func everyTensorComesBackAligned() throws {
    let path = folder("all.safetensors")
    let shapes = [[], [0], [4], [3, 0, 2], [2, 4, 3]]
    let sources = SafeTensorsDType.allCases.flatMap { dtype in
      // A lone element narrower than a byte cannot be stored.
      shapes.filter { !$0.isEmpty || dtype.bitWidth >= 8 }.map { source("\(dtype)\($0)", dtype, $0) }
    }
    try SafeTensorsFile.write(sources, to: path)
    let file = try SafeTensorsFile(path: path)
    #expect(file.metadata.isEmpty)
    #expect(file.entries.count == sources.count)
    for source in sources {
      let entry = try #require(file.entries[source.name])
      #expect(entry.dtype == source.dtype)
      #expect(entry.shape == source.shape)
      try file.withBytes(of: source.name) { bytes in
        #expect(bytes.elementsEqual(pattern(source.name, count: entry.range.count)))
        let address = Int(bitPattern: bytes.baseAddress)
        #expect(address % max(1, source.dtype.bitWidth / 8) == 0, "\(source.name) is not aligned")
      }
    }
  }

  @Test func bytesThatWereGivenBackAreReadAgain() throws {
    let path = folder("pages.safetensors")
    // Not at the borders of pages, and one smaller than a page.
    let sources = [source("small", .U8, [100]), source("large", .F32, [9, 1000]), source("none", .F32, [0])]
    try SafeTensorsFile.write(sources, to: path)
    let file = try SafeTensorsFile(path: path)
    for source in sources {
      let before = try file.withBytes(of: source.name) { Array($0) }
      file.release(source.name)
      #expect(try file.withBytes(of: source.name) { Array($0) } == before)
      #expect(before.elementsEqual(pattern(source.name, count: before.count)))
    }
    file.release("absent")
  }

  @Test func metadataKeepsItsOrder() throws {
    let metadata: OrderedDictionary = ["z": "last first", "a": "", "\u{1}\"": "\\u0041 stays \u{10FFFF}"]
    try SafeTensorsFile.write([source("t", .BF16, [2])], metadata: metadata, to: folder("m"))
    #expect(try SafeTensorsFile(path: folder("m")).metadata == metadata)
  }

  @Test func sourcesStreamInRuns() throws {
    let runs: [[UInt8]] = [[1, 2], [], [3, 4, 5], [6, 7, 8]]
    let streamed = SafeTensorsSource(name: "s", dtype: .I32, shape: [2]) { consume in
      for run in runs { try run.withUnsafeBytes(consume) }
    }
    try SafeTensorsFile.write([streamed], to: folder("s"))
    #expect(try SafeTensorsFile(path: folder("s")).withBytes(of: "s") { Array($0) } == Array(1...8))
  }

  @Test func bytesOutliveTheFileWithTheMapping() throws {
    weak var released: FileMapping?
    do {
      let path = folder("kept")
      try SafeTensorsFile.write([source("t", .U8, [100])], to: path)
      let (mapping, bytes) = try { () throws -> (FileMapping, UnsafeRawBufferPointer) in
        let file = try SafeTensorsFile(path: path)
        return (file.mapping, try file.bytes(of: "t"))
      }()
      released = mapping
      // Replaced and removed, the old contents stay.
      try AtomicFile.write("x", to: path, overwrite: true)
      try FileManager.default.removeItem(atPath: path)
      withExtendedLifetime(mapping) { #expect(bytes.elementsEqual(pattern("t", count: 100))) }
    }
    #expect(released == nil, "the mapping leaks")
  }

  @Test func headersOfOtherWritersOpen() throws {
    // Header order is not data order, metadata comes last, spaces stand between, names are escaped.
    let file = try open(
      fileBytes(
        #"""
        { "b" : {"shape":[ 2 ],"data_offsets":[4,8],"dtype":"F16"} ,
          "\u00e9\ud834\udd1e\/\"":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},
          "end":{"dtype":"F64","shape":[0],"data_offsets":[8,8]},"__metadata__":{"k":"v","\b\f\n\r\t":""}}
        """# + "     ", data: 8))
    #expect(Array(file.entries.keys) == ["é𝄞/\"", "b", "end"])
    #expect(file.entries.values.map(\.range) == [0..<4, 4..<8, 8..<8])
    #expect(file.entries.values.map(\.dtype) == [.U8, .F16, .F64])
    #expect(file.metadata == ["k": "v", "\u{8}\u{C}\n\r\t": ""])
    #expect(try file.withBytes(of: "end") { $0.isEmpty })
  }

  @Test func anAbsentTensorIsNamed() throws {
    let file = try open(fileBytes(#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: 1))
    let error = #expect(throws: SafeTensorsError.self) { try file.bytes(of: "b") }
    #expect(error?.description == "\(file.path): tensor \"b\" is not among the 1 of the file")
  }
}

/// Tensors that cannot make a file are refused, and nothing stays behind.
struct RefusedWriteTests {
  private struct Failure: Error {}
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func refusal(_ sources: [SafeTensorsSource]) throws -> String? {
    let path = folder("x.safetensors")
    let error = #expect(throws: SafeTensorsError.self) { try SafeTensorsFile.write(sources, to: path) }
    #expect(try folder.names.isEmpty)
    return error.map { String($0.description.dropFirst(path.count + 2)) }
  }

  @Test func names() throws {
    #expect(
      try refusal([source("__metadata__", .U8, [1])])
        == "tensor \"__metadata__\" cannot be written: the format keeps that name for the metadata")
    #expect(
      try refusal([source("a", .U8, [1]), source("a", .F32, [1])])
        == "tensor \"a\" cannot be written twice; every name must be unique")
  }

  @Test func sizes() throws {
    let short = SafeTensorsSource(name: "w", dtype: .F32, shape: [2], bytes: [1, 2, 3] as [UInt8])
    #expect(try refusal([source("a", .F64, [9]), short]) == "tensor \"w\" of F32 [2] takes 8 bytes but has 3")
    let long = SafeTensorsSource(name: "w", dtype: .U8, shape: [2], bytes: [1, 2, 3] as [UInt8])
    #expect(try refusal([long]) == "tensor \"w\" of U8 [2] takes 2 bytes but has 3")
    let odd = SafeTensorsSource(name: "w", dtype: .F4, shape: [3], bytes: [1, 2] as [UInt8])
    #expect(try refusal([odd]) == "tensor \"w\" of F4 [3] does not end on a whole byte")
    let huge = SafeTensorsSource(name: "w", dtype: .F32, shape: [Int.max], bytes: [] as [UInt8])
    #expect(
      try refusal([huge]) == "tensor \"w\" of F32 [\(Int.max)] takes more bits than a 64-bit integer can count")
  }

  @Test func aSourcesOwnErrorPasses() throws {
    let failing = SafeTensorsSource(name: "w", dtype: .U8, shape: [2]) { consume in
      try [UInt8(1)].withUnsafeBytes(consume)
      throw Failure()
    }
    try AtomicFile.write("old", to: folder("x"))
    #expect(throws: Failure.self) {
      try SafeTensorsFile.write([source("a", .F64, [99]), failing], to: folder("x"), overwrite: true)
    }
    #expect(try folder.names == ["x"])
    #expect(try String(contentsOfFile: folder("x"), encoding: .utf8) == "old")
  }
}
