import Foundation
import OrderedCollections
import SafeTensors
import TestFiles
import Testing

/// Files by the reference implementation (Scripts/goldens/safetensors_golden.py): read right, and written byte by byte alike.
struct GoldenTests {
  private struct Golden: Sendable, CustomTestStringConvertible {
    let file: String
    let tensors: [(name: String, dtype: SafeTensorsDType, shape: [Int])]
    var metadata: [(String, String)] = []

    var testDescription: String { file }
    var path: String { "\(TestFiles.goldens)/safetensors/\(file)" }
  }

  /// The reference's names for the types that its Python binding writes: all but the six-bit floats.
  private static let everyDType: [(String, SafeTensorsDType)] = [
    ("bool", .BOOL), ("float4_e2m1fn_x2", .F4), ("uint8", .U8), ("int8", .I8), ("float8_e5m2", .F8_E5M2),
    ("float8_e4m3fn", .F8_E4M3), ("float8_e8m0fnu", .F8_E8M0), ("float8_e4m3fnuz", .F8_E4M3FNUZ),
    ("float8_e5m2fnuz", .F8_E5M2FNUZ), ("int16", .I16), ("uint16", .U16), ("float16", .F16), ("bfloat16", .BF16),
    ("int32", .I32), ("uint32", .U32), ("float32", .F32), ("complex64", .C64), ("float64", .F64), ("int64", .I64),
    ("uint64", .U64),
  ]

  private static let goldens = [
    Golden(
      file: "every_dtype.safetensors",
      tensors: everyDType.map { ("layer." + $0, $1, [2, 4]) },
      metadata: [("format", "pt"), ("note", "quote \" backslash \\ tab \t bell \u{7} snow ☃")]),
    Golden(
      file: "names_and_shapes.safetensors",
      tensors: [
        ("b", .F32, [3]), ("a", .F32, []), ("é", .F32, [1]), ("ﬀ", .F32, [1, 1]), ("𝄞", .F32, [2]),
        ("line\nbreak \u{0} \u{1F} \u{7F} /", .BF16, [1, 3]), ("", .U8, [5]), ("empty.wide", .I64, [0, 4]),
        ("empty.narrow", .U8, [7, 0]),
      ]),
    Golden(file: "nothing.safetensors", tensors: []),
  ]

  @Test(arguments: goldens)
  private func isReadAsMade(golden: Golden) throws {
    let file = try SafeTensorsFile(path: golden.path)
    #expect(file.metadata.map { "\($0)=\($1)" } == golden.metadata.map { "\($0)=\($1)" })
    #expect(file.entries.count == golden.tensors.count)
    for (name, dtype, shape) in golden.tensors {
      let entry = try #require(file.entries[name])
      #expect(entry.dtype == dtype)
      #expect(entry.shape == shape)
      #expect(try file.withBytes(of: name) { Array($0) } == pattern(name, count: entry.range.count), "\(name)")
      var copy = [UInt8](repeating: 0, count: entry.range.count)
      try copy.withUnsafeMutableBytes { try file.copy(name, to: $0) }
      #expect(copy == pattern(name, count: entry.range.count), "\(name), copied")
    }
  }

  @Test(arguments: goldens)
  private func isWrittenByteByByteAlike(golden: Golden) throws {
    let folder = try TemporaryFolder()
    // Backwards, because the order given must not matter.
    try SafeTensorsFile.write(
      golden.tensors.reversed().map { source($0.name, $0.dtype, $0.shape) },
      metadata: .init(uniqueKeysWithValues: golden.metadata), to: folder(golden.file))
    let (written, reference) = (try bytes(folder(golden.file)), try bytes(golden.path))
    let difference = zip(written, reference).enumerated().first { $1.0 != $1.1 }?.offset
    #expect(difference == nil, "first differing byte")
    #expect(written.count == reference.count)
  }
}
