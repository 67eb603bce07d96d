/// Why a safetensors file cannot be read or written: which file, what was found, what was expected and what to do.
public struct SafeTensorsError: Error, CustomStringConvertible, Equatable, Sendable {
  /// The file's path, as given.
  public let file: String
  public let reason: Reason

  init(_ file: String, _ reason: Reason) {
    self.file = file
    self.reason = reason
  }

  public var description: String { "\(file): \(message)" }

  /// The description without the file.
  package var message: String { reason.message }

  public enum Reason: Equatable, Sendable {
    /// The operating system's words.
    case unreadable(String)
    case notAFile
    case tooShort(byteCount: Int)
    case foreign(ForeignFormat)
    case header(HeaderProblem)
    case tensor(String, TensorProblem)
    /// Data behind the last tensor.
    case surplusData(begin: Int, dataByteCount: Int)
  }

  /// Offsets count bytes from the header's first.
  public enum HeaderProblem: Equatable, Sendable {
    case tooShort(byteCount: UInt64)
    case tooLong(byteCount: UInt64)
    case truncated(byteCount: UInt64, fileByteCount: Int)
    case start(found: UInt8)
    case notUTF8
    case syntax(offset: Int, found: String, expected: String)
    /// The names that lead to the repeated one, itself last.
    case duplicateName(path: [String])
    case metadata(found: String)
    case metadataValue(name: String, found: String)
  }

  /// Offsets count bytes from the start of the data, behind the header.
  public enum TensorProblem: Equatable, Sendable {
    case notAnObject(found: String)
    case missingField(String)
    case unexpectedField(String)
    case malformedField(String, found: String, expected: String)
    case unknownDType(String)
    case tooLarge(SafeTensorsDType, shape: [Int])
    case partialByte(SafeTensorsDType, shape: [Int])
    case offsetsReversed(begin: Int, end: Int)
    case wrongSize(SafeTensorsDType, shape: [Int], expected: Int, found: Int)
    case outOfData(end: Int, dataByteCount: Int)
    case overlap(begin: Int, previous: String, previousEnd: Int)
    case hole(begin: Int, end: Int)
    /// The file has no such tensor, only `count` others.
    case absent(count: Int)
    case reservedName
    case repeatedName
  }
}

extension SafeTensorsError.Reason {
  var message: String {
    switch self {
    case .unreadable(let problem): "cannot be read: \(problem)"
    case .notAFile: "is not a regular file; give the path of a .safetensors file"
    case .tooShort(let count):
      "holds \(count) bytes, a safetensors file at least 10; the file is cut short, download or write it again"
    case .foreign(let format): format.message
    case .header(let problem): problem.message
    case .tensor(let name, let problem): "tensor \(String(reflecting: name)) \(problem.message)"
    case .surplusData(let begin, let count):
      "bytes \(begin) to \(count), at the end of the data, belong to no tensor; the tensors must cover all data"
    }
  }
}

extension SafeTensorsError.HeaderProblem {
  var message: String {
    switch self {
    case .tooShort(let count): "states a header of \(count) bytes; the shortest, {}, takes 2"
    case .tooLong(let count):
      "states a header of \(count) bytes, over the format's limit of \(SafeTensorsHeader.byteLimit); is it a safetensors file?"
    case .truncated(let count, let fileCount):
      "states a header of \(count) bytes but holds \(fileCount) in all; the file is cut short, download or write it again"
    case .start(let byte): "header begins with byte 0x\(hexadecimal(byte)), expected '{'; is it a safetensors file?"
    case .notUTF8: "header is not UTF-8 text"
    case .syntax(let offset, let found, let expected):
      "header is not valid JSON: found \(found) at byte \(offset), expected \(expected)"
    case .duplicateName(let path):
      "header names \(path.map { String(reflecting: $0) }.joined(separator: " . ")) twice; every name must be unique"
    case .metadata(let found): "__metadata__ is \(found), expected an object of strings"
    case .metadataValue(let name, let found): "__metadata__ has \(String(reflecting: name)): \(found), expected a string"
    }
  }
}

extension SafeTensorsError.TensorProblem {
  var message: String {
    switch self {
    case .notAnObject(let found): "is \(found), expected an object with dtype, shape and data_offsets"
    case .missingField(let field): "has no \(field)"
    case .unexpectedField(let field):
      "has a field \(String(reflecting: field)), expected only dtype, shape and data_offsets"
    case .malformedField(let field, let found, let expected): "has \(field) \(found), expected \(expected)"
    case .unknownDType(let found):
      "has dtype \(String(reflecting: found)), expected one of "
        + SafeTensorsDType.allCases.map(\.rawValue).joined(separator: ", ")
    case .tooLarge(let dtype, let shape): "of \(dtype) \(shape) takes more bits than a 64-bit integer can count"
    case .partialByte(let dtype, let shape): "of \(dtype) \(shape) does not end on a whole byte"
    case .offsetsReversed(let begin, let end): "begins at byte \(begin), after its end at byte \(end)"
    case .wrongSize(let dtype, let shape, let expected, let found):
      "of \(dtype) \(shape) takes \(expected) bytes but has \(found)"
    case .outOfData(let end, let count):
      "ends at byte \(end) but the file has \(count) bytes of data; the file is cut short, download or write it again"
    case .overlap(let begin, let previous, let previousEnd):
      "begins at byte \(begin), before \(String(reflecting: previous)) ends at byte \(previousEnd); tensors must not overlap"
    case .hole(let begin, let end):
      "leaves bytes \(begin) to \(end) before it to no tensor; the tensors must cover all data"
    case .absent(let count): "is not among the \(count) of the file"
    case .reservedName: "cannot be written: the format keeps that name for the metadata"
    case .repeatedName: "cannot be written twice; every name must be unique"
    }
  }
}

extension SafeTensorsError {
  /// A format that often arrives under the name of a safetensors file, told by its first bytes.
  public enum ForeignFormat: CaseIterable, Equatable, Sendable {
    case zip, pickle, gzip, gguf, hdf5, html, json, gitLFSPointer

    /// The format whose signature `bytes` begin with. Asked only of files that cannot be safetensors files: the first bytes
    /// of those are a length and can be anything.
    init?(_ bytes: UnsafeRawBufferPointer) {
      let start = bytes.prefix(40)
      guard let format = Self.allCases.first(where: { $0.signatures.contains { start.starts(with: $0) } }) else { return nil }
      self = format
    }

    private var signatures: [[UInt8]] {
      switch self {
      case .zip: [Array("PK\u{3}\u{4}".utf8)]
      case .pickle: (2...5).map { [0x80, $0] }
      case .gzip: [[0x1F, 0x8B]]
      case .gguf: [Array("GGUF".utf8)]
      case .hdf5: [[0x89] + Array("HDF\r\n".utf8)]
      case .html: ["<!DOCTYPE", "<!doctype", "<html", "<HTML", "<?xml"].map { Array($0.utf8) }
      case .json: ["{\"", "{\n", "{\r", "{ "].map { Array($0.utf8) }
      case .gitLFSPointer: [Array("version https://git-lfs".utf8)]
      }
    }

    var message: String {
      switch self {
      case .zip:
        "is a zip archive, most likely a PyTorch checkpoint (.pt, .bin, .ckpt); convert it to safetensors with Python first"
      case .pickle: "is a Python pickle, most likely an old PyTorch checkpoint; convert it to safetensors with Python first"
      case .gzip: "is a gzip archive; unpack it first"
      case .gguf: "is a GGUF file; get the safetensors version of the model"
      case .hdf5: "is an HDF5 file; get the safetensors version of the model"
      case .html: "is a web page, not a safetensors file; the download was redirected or refused, download the file again"
      case .json: "is a JSON text, not a safetensors file; for a model in parts give the .safetensors files the index names"
      case .gitLFSPointer: "is a git-lfs pointer, not the file itself; fetch it with `git lfs pull`"
      }
    }
  }
}
