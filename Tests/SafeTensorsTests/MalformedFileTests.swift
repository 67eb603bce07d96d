import Foundation
import OrderedCollections
import SafeTensors
import TestFiles
import Testing

/// Every promise of the format, broken: the file is refused and the message says how.
struct MalformedFileTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let bytes: [UInt8]
    let message: String
    let testDescription: String

    init(_ bytes: [UInt8], _ message: String) {
      (self.bytes, self.message, testDescription) = (bytes, message, message)
    }

    init(_ header: String, data: Int = 0, _ message: String) { self.init(fileBytes(header, data: data), message) }
  }

  /// A header of one tensor "a" of four bytes, with one field spelled otherwise.
  private static func tensor(
    dtype: String = #""F32""#, shape: String = "[1]", offsets: String = "[0,4]", more: String = ""
  ) -> String {
    #"{"a":{"dtype":\#(dtype),"shape":\#(shape),"data_offsets":\#(offsets)\#(more)}}"#
  }

  private static func pair(_ first: String, _ second: String) -> String {
    #"{"a":{"dtype":"U8",\#(first)},"b":{"dtype":"U8",\#(second)}}"#
  }

  @Test(arguments: files + headers + strings + numbers + metadata + entries + layouts)
  func isRefused(file: Case) throws {
    #expect(try refusal(file.bytes) == file.message)
  }

  /// The file behind the cases: as it should be, it opens.
  @Test func theSoundFileOpens() throws {
    #expect(try refusal(fileBytes(Self.tensor(), data: 4)) == nil)
    #expect(try refusal(fileBytes(Self.tensor(dtype: #""F6_E2M3""#, shape: "[4]", offsets: "[0,3]") + "  ", data: 3)) == nil)
  }

  private static let again = "the file is cut short, download or write it again"
  static let files = [
    Case([], "holds 0 bytes, a safetensors file at least 10; \(again)"),
    Case([2, 0, 0, 0, 0, 0, 0], "holds 7 bytes, a safetensors file at least 10; \(again)"),
    Case(fileBytes([], length: 0), "states a header of 0 bytes; the shortest, {}, takes 2"),
    Case(fileBytes([], length: 2), "states a header of 2 bytes but holds 8 in all; \(again)"),
    Case(fileBytes([123], length: 2), "states a header of 2 bytes but holds 9 in all; \(again)"),
    Case(
      fileBytes([123, 125], length: 100_000_001),
      "states a header of 100000001 bytes, over the format's limit of 100000000; is it a safetensors file?"),
    Case(
      fileBytes([123, 125], length: .max),
      "states a header of 18446744073709551615 bytes, over the format's limit of 100000000; is it a safetensors file?"),
    Case(
      Array("PK\u{3}\u{4}archive/data.pkl".utf8),
      "is a zip archive, most likely a PyTorch checkpoint (.pt, .bin, .ckpt); convert it to safetensors with Python first"),
    Case(
      [0x80, 2, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9],
      "is a Python pickle, most likely an old PyTorch checkpoint; convert it to safetensors with Python first"),
    Case([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3], "is a gzip archive; unpack it first"),
    Case(Array("GGUF\u{3}\u{0}\u{0}\u{0}\u{1}".utf8), "is a GGUF file; get the safetensors version of the model"),
    Case([0x89] + Array("HDF\r\n\u{1A}\n".utf8), "is an HDF5 file; get the safetensors version of the model"),
    Case(
      Array("<!DOCTYPE html><html>".utf8),
      "is a web page, not a safetensors file; the download was redirected or refused, download the file again"),
    Case(
      Array("{\"weight_map\": {}}".utf8),
      "is a JSON text, not a safetensors file; for a model in parts give the .safetensors files the index names"),
    Case(
      Array("version https://git-lfs.github.com/spec/v1\noid sha256:0".utf8),
      "is a git-lfs pointer, not the file itself; fetch it with `git lfs pull`"),
  ]

  private static func syntax(_ offset: Int, _ found: String, _ expected: String) -> String {
    "header is not valid JSON: found \(found) at byte \(offset), expected \(expected)"
  }

  static let headers = [
    Case(" {}", "header begins with byte 0x20, expected '{'; is it a safetensors file?"),
    Case("[]", "header begins with byte 0x5b, expected '{'; is it a safetensors file?"),
    Case(fileBytes([123, 34, 0xFF, 34, 125]), "header is not UTF-8 text"),
    Case("{}x", syntax(2, "'x'", "spaces up to the end")),
    Case("{}\n", syntax(2, "byte 0x0a", "spaces up to the end")),
    Case("{ ", syntax(2, "its end", "a member name in quotes")),
    Case("{a:1}", syntax(1, "'a'", "a member name in quotes")),
    Case("{\"a\"}", syntax(4, "'}'", "':'")),
    Case("{\"a\":}", syntax(5, "'}'", "a JSON value")),
    Case("{\"a\":[1 2]}", syntax(8, "'2'", "',' or ']'")),
    Case("{\"a\":[1,]}", syntax(8, "']'", "a JSON value")),
    Case("{\"a\":{} \"b\":{}}", syntax(8, "'\"'", "',' or '}'")),
    Case("{\"a\":{},}", syntax(8, "'}'", "a member name in quotes")),
    Case("{\"a\":nul}", syntax(8, "'}'", "null")),
    Case("{\"a\":True}", syntax(5, "'T'", "a JSON value")),
    Case(
      "{\"a\":" + String(repeating: "[", count: 100_000), syntax(36, "'['", "at most 32 levels of nesting")),
    Case("{\"a\":{},\"b\":{},\"a\":{}}", "header names \"a\" twice; every name must be unique"),
    Case("{\"a\":{},\"\\u0061\":{}}", "header names \"a\" twice; every name must be unique"),
    Case(tensor(more: #","shape":[1]"#), data: 4, "header names \"a\" . \"shape\" twice; every name must be unique"),
    Case(
      #"{"__metadata__":{"k":"1","k":"2"}}"#, "header names \"__metadata__\" . \"k\" twice; every name must be unique"),
    Case(
      #"{"__metadata__":{},"__metadata__":{}}"#, "header names \"__metadata__\" twice; every name must be unique"),
  ]

  static let strings = [
    Case("{\"a", syntax(3, "its end", "a closing quote; control characters must be escaped")),
    Case("{\"a\nb\":1}", syntax(3, "byte 0x0a", "a closing quote; control characters must be escaped")),
    Case(#"{"\x":1}"#, syntax(3, "'x'", "one of \"\\/bfnrtu after a backslash")),
    Case(#"{"\u00g0":1}"#, syntax(6, "'g'", "four hexadecimal digits after \\u")),
    Case(#"{"\ud834":1}"#, syntax(8, "'\"'", "a whole surrogate pair")),
    Case(#"{"\ud834\n":1}"#, syntax(9, "'n'", "a whole surrogate pair")),
    Case(#"{"\ud834\u0041":1}"#, syntax(14, "'\"'", "a whole surrogate pair")),
    Case(#"{"\udd1e\ud834":1}"#, syntax(8, "'\\'", "a whole surrogate pair")),
  ]

  private static func size(_ found: String, _ field: String = "shape") -> String {
    "tensor \"a\" has \(field) with \(found), expected integers from 0 to 9223372036854775807"
  }

  static let numbers = [
    Case(tensor(shape: "[01]"), data: 4, syntax(30, "'1'", "',' or ']'")),
    Case(tensor(shape: "[+1]"), data: 4, syntax(29, "'+'", "a JSON value")),
    Case(tensor(shape: "[1.]"), data: 4, syntax(31, "']'", "a digit")),
    Case(tensor(shape: "[1e]"), data: 4, syntax(31, "']'", "a digit")),
    Case(tensor(shape: "[-]"), data: 4, syntax(30, "']'", "a digit")),
    Case(tensor(shape: "[-1]"), data: 4, size("-1")),
    Case(tensor(shape: "[-0]"), data: 4, size("-0")),
    Case(tensor(shape: "[1.0]"), data: 4, size("1.0")),
    Case(tensor(shape: "[1e0]"), data: 4, size("1e0")),
    Case(tensor(shape: "[9223372036854775808]"), data: 4, size("9223372036854775808")),
    Case(tensor(shape: "[\"1\"]"), data: 4, size("\"1\"")),
    Case(tensor(shape: "[[1]]"), data: 4, size("an array of 1")),
    Case(tensor(offsets: "[0,4.5]"), data: 4, size("4.5", "data_offsets")),
    Case(tensor(offsets: "[-4,0]"), data: 4, size("-4", "data_offsets")),
  ]

  static let metadata = [
    Case(#"{"__metadata__":null}"#, "__metadata__ is null, expected an object of strings"),
    Case(#"{"__metadata__":["pt"]}"#, "__metadata__ is an array of 1, expected an object of strings"),
    Case(#"{"__metadata__":{"rank":4}}"#, "__metadata__ has \"rank\": 4, expected a string"),
    Case(#"{"__metadata__":{"tags":{}}}"#, "__metadata__ has \"tags\": an object, expected a string"),
    Case(#"{"__metadata__":{"on":true}}"#, "__metadata__ has \"on\": true, expected a string"),
  ]

  private static let known =
    "BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, "
    + "I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64"
  private static let pairExpected = "expected an array [begin, end]"

  static let entries = [
    Case("{\"a\":1}", "tensor \"a\" is 1, expected an object with dtype, shape and data_offsets"),
    Case(
      "{\"a\\n\\\"\":[\"F32\",[1],[0,4]]}", data: 4,
      #"tensor "a\n\"" is an array of 3, expected an object with dtype, shape and data_offsets"#),
    Case(#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, data: 4, "tensor \"a\" has no dtype"),
    Case(#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, data: 4, "tensor \"a\" has no shape"),
    Case(#"{"a":{"dtype":"F32","shape":[1]}}"#, data: 4, "tensor \"a\" has no data_offsets"),
    Case(
      tensor(more: #","strides":[1]"#), data: 4,
      "tensor \"a\" has a field \"strides\", expected only dtype, shape and data_offsets"),
    Case(tensor(dtype: "32"), data: 4, "tensor \"a\" has dtype 32, expected a string"),
    Case(tensor(dtype: #""f32""#), data: 4, "tensor \"a\" has dtype \"f32\", expected one of \(known)"),
    Case(tensor(dtype: #""C128""#), data: 4, "tensor \"a\" has dtype \"C128\", expected one of \(known)"),
    Case(tensor(shape: "1"), data: 4, "tensor \"a\" has shape 1, expected an array of sizes"),
    Case(tensor(shape: "null"), data: 4, "tensor \"a\" has shape null, expected an array of sizes"),
    Case(tensor(offsets: "{}"), data: 4, "tensor \"a\" has data_offsets an object, \(pairExpected)"),
    Case(tensor(offsets: "[4]"), data: 4, "tensor \"a\" has data_offsets [4], \(pairExpected)"),
    Case(tensor(offsets: "[0,4,8]"), data: 4, "tensor \"a\" has data_offsets [0, 4, 8], \(pairExpected)"),
    Case(
      tensor(shape: "[4294967296,4294967296]"), data: 4,
      "tensor \"a\" of F32 [4294967296, 4294967296] takes more bits than a 64-bit integer can count"),
    Case(
      tensor(shape: "[1152921504606846976]"), data: 4,
      "tensor \"a\" of F32 [1152921504606846976] takes more bits than a 64-bit integer can count"),
    Case(
      tensor(dtype: #""F4""#, shape: "[3]", offsets: "[0,2]"), data: 2,
      "tensor \"a\" of F4 [3] does not end on a whole byte"),
    Case(
      tensor(dtype: #""F6_E3M2""#, shape: "[2,3]", offsets: "[0,5]"), data: 5,
      "tensor \"a\" of F6_E3M2 [2, 3] does not end on a whole byte"),
    Case(tensor(shape: "[2]"), data: 4, "tensor \"a\" of F32 [2] takes 8 bytes but has 4"),
    Case(tensor(shape: "[]", offsets: "[0,0]"), "tensor \"a\" of F32 [] takes 4 bytes but has 0"),
    Case(tensor(shape: "[0]"), data: 4, "tensor \"a\" of F32 [0] takes 0 bytes but has 4"),
  ]

  static let layouts = [
    Case(tensor(offsets: "[4,0]"), data: 4, "tensor \"a\" begins at byte 4, after its end at byte 0"),
    Case(tensor(), data: 3, "tensor \"a\" ends at byte 4 but the file has 3 bytes of data; \(again)"),
    Case(
      tensor(offsets: "[9223372036854775803,9223372036854775807]"), data: 4,
      "tensor \"a\" ends at byte 9223372036854775807 but the file has 4 bytes of data; \(again)"),
    Case(
      pair(#""shape":[3],"data_offsets":[0,3]"#, #""shape":[2],"data_offsets":[2,4]"#), data: 4,
      "tensor \"b\" begins at byte 2, before \"a\" ends at byte 3; tensors must not overlap"),
    Case(
      pair(#""shape":[4],"data_offsets":[0,4]"#, #""shape":[4],"data_offsets":[0,4]"#), data: 4,
      "tensor \"b\" begins at byte 0, before \"a\" ends at byte 4; tensors must not overlap"),
    Case(
      pair(#""shape":[0],"data_offsets":[2,2]"#, #""shape":[4],"data_offsets":[0,4]"#), data: 4,
      "tensor \"a\" begins at byte 2, before \"b\" ends at byte 4; tensors must not overlap"),
    Case(
      pair(#""shape":[1],"data_offsets":[3,4]"#, #""shape":[1],"data_offsets":[0,1]"#), data: 4,
      "tensor \"a\" leaves bytes 1 to 3 before it to no tensor; the tensors must cover all data"),
    Case(
      tensor(offsets: "[4,8]"), data: 8,
      "tensor \"a\" leaves bytes 0 to 4 before it to no tensor; the tensors must cover all data"),
    Case(
      tensor(), data: 6, "bytes 4 to 6, at the end of the data, belong to no tensor; the tensors must cover all data"),
    Case("{}", data: 1, "bytes 0 to 1, at the end of the data, belong to no tensor; the tensors must cover all data"),
  ]

  @Test func placesThatAreNoFiles() throws {
    let folder = try TemporaryFolder()
    func message(_ path: String) -> String? {
      #expect(throws: SafeTensorsError.self) { try SafeTensorsFile(path: path) }?.description
    }
    #expect(message(folder("none")) == "\(folder("none")): cannot be read: No such file or directory")
    #expect(message(folder.path) == "\(folder.path): is not a regular file; give the path of a .safetensors file")
    // A named pipe without a writer must not be waited for.
    mkfifo(folder("pipe"), 0o600)
    #expect(message(folder("pipe")) == "\(folder("pipe")): is not a regular file; give the path of a .safetensors file")
  }

  /// Every beginning of a sound file is refused, and no change of one byte is more than refused.
  @Test func damageNeverTraps() throws {
    let sound = fileBytes(
      #"{"__metadata__":{"\u00e9":"x"},"b":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}"#, data: 4)
    let folder = try TemporaryFolder()
    let path = folder("x")
    for count in 0..<sound.count {
      try put(sound.prefix(count), at: path)
      #expect(throws: SafeTensorsError.self, "\(count) bytes") { try SafeTensorsFile(path: path) }
    }
    for index in sound.indices {
      for byte: UInt8 in [0, 0x20, 0x22, 0x2C, 0x2D, 0x39, 0x5C, 0x5D, 0x7B, 0x7D, 0x80, 0xFF] {
        var damaged = sound
        damaged[index] = byte
        try put(damaged, at: path)
        do {
          let file = try SafeTensorsFile(path: path)
          // Read them: a byte outside the mapping would trap.
          for key in file.entries.keys { #expect(try file.withBytes(of: key) { Array($0) }.count == 4) }
        } catch let error as SafeTensorsError {
          #expect(error.file == path)
        }
      }
    }
  }
}
