import Foundation
import SafeTensors
import TestFiles
import Testing

/// A file's bytes from the header's text and the data; states `length` instead of the text's own if given.
func fileBytes(_ header: [UInt8], length: UInt64? = nil, data: Int = 0) -> [UInt8] {
  withUnsafeBytes(of: (length ?? UInt64(header.count)).littleEndian) { Array($0) } + header + Array(repeating: 7, count: data)
}

func fileBytes(_ header: String, data: Int = 0) -> [UInt8] { fileBytes(Array(header.utf8), data: data) }

/// Writes `bytes` without waiting for the disk, as Foundation does: the tests write a thousand files.
func put(_ bytes: some Collection<UInt8>, at path: String) throws {
  let stream = try #require(fopen(path, "w"))
  defer { fclose(stream) }
  #expect(fwrite(Array(bytes), 1, bytes.count, stream) == bytes.count)
}

/// Puts `bytes` in a file that the opened one keeps mapped after the folder is gone.
func open(_ bytes: [UInt8]) throws -> SafeTensorsFile {
  let folder = try TemporaryFolder()
  try put(bytes, at: folder("x"))
  return try SafeTensorsFile(path: folder("x"))
}

/// What opening `bytes` says after the file's name, or nil if it opens.
func refusal(_ bytes: [UInt8]) throws -> String? {
  do {
    _ = try open(bytes)
    return nil
  } catch let error as SafeTensorsError {
    return String(error.description.dropFirst(error.file.count + 2))
  }
}

/// Bytes that tell tensors and places apart: the formula of Scripts/goldens/safetensors_golden.py.
func pattern(_ name: String, count: Int) -> [UInt8] {
  (0..<count).map { UInt8((31 * $0 + name.utf8.count) % 251) }
}

/// A tensor filled by `pattern`.
func source(_ name: String, _ dtype: SafeTensorsDType, _ shape: [Int]) -> SafeTensorsSource {
  let count = shape.reduce(1, *) * dtype.bitWidth / 8
  return SafeTensorsSource(name: name, dtype: dtype, shape: shape, bytes: pattern(name, count: count))
}
