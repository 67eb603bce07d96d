internal import Foundation
public import OrderedCollections
internal import SafeTensors
internal import Torch

/// An adapter file, taken apart and checked, as far as that goes without the base model.
///
/// ```swift
/// let file = try AdapterFile(path: "cat.safetensors")
/// let adapter = try file.adapter(for: ModuleNames(projections))
/// ```
/// Every key is accounted for: what is not understood, has no counterpart or holds no usable numbers is an error.
public struct AdapterFile {
  public let path: String
  /// All that it was read from: a dialect may have a second file beside the tensors.
  public let files: [String]
  public let dialect: any Dialect
  /// With the text of the file beside it that some dialects have, under its name.
  public let metadata: OrderedDictionary<String, String>
  /// By the names that the file gives to layers, in its order.
  public let layers: OrderedDictionary<String, LayerChange>
  /// Keys of changes of biases and norms, which no LoRA can hold.
  public let vectors: [String]
  /// Keys of embeddings of words that were trained with the LoRA, which it cannot hold either.
  public let embeddings: [String]
  /// What a user should know about how the file was understood.
  public let remarks: [String]

  /// Opens a file, finds its dialect and checks every tensor.
  ///
  /// - Parameters:
  ///   - path: of a file, or of a folder with a file of peft's or diffusers' usual name.
  ///   - checksNumbers: whether all numbers are read and must be finite. Who wants to know names and shapes alone need not wait
  ///     for a large file to be read.
  /// - Throws: `AdapterFileError`; `SafeTensorsError` for what is no safetensors file.
  public init(path: String, checksNumbers: Bool = true) throws {
    let path = try Self.file(at: path)
    let collection = try SafeTensorsCollection(path: path)
    let dialect = try Self.dialect(of: collection.keys, path: path)
    var metadata = collection.file.metadata
    if let name = dialect.companion { metadata[name] = try Self.companion(name, of: path) }
    let alphas = try Self.naming(path) { () throws(MetadataError) in try dialect.alphas(in: metadata) }
    var reader = LayerReader(dialect: dialect, collection: collection, alphas: alphas, checksNumbers: checksNumbers)
    layers = try reader.layers()
    guard reader.defects.isEmpty else {
      throw AdapterFileError(path, .defects(reader.defects, dialect: dialect.name))
    }
    guard !layers.isEmpty || !reader.vectors.isEmpty else { throw AdapterFileError(path, .empty) }
    self.path = path
    files = [path] + (dialect.companion.flatMap { metadata[$0] == nil ? nil : [Self.beside(path, $0)] } ?? [])
    self.dialect = dialect
    self.metadata = metadata
    (vectors, embeddings) = (reader.vectors, reader.embeddings)
    remarks = reader.assumesAlphas ? [alphas.remark].compactMap { $0 } : []
  }

  /// Exactly one dialect must recognise keys of the file, or be the only one that understands all that any recognises: diffusers'
  /// scripts write some keys as its versions before 0.26 do.
  private static func dialect(of keys: [String], path: String) throws(AdapterFileError) -> any Dialect {
    guard !keys.isEmpty else { throw AdapterFileError(path, .empty) }
    let evidence = Dialects.all.map { dialect in AdapterFileError.Evidence(dialect.name, keys.filter(dialect.claims)) }
    var claims = evidence.indices.filter { evidence[$0].count > 0 }
    if claims.count > 1 {
      let recognised = keys.filter { key in claims.contains { Dialects.all[$0].claims(key) } }
      let complete = claims.filter { index in recognised.allSatisfy { Dialects.all[index].parse($0) != nil } }
      if complete.count == 1 { claims = complete }
    }
    switch claims.count {
    case 1: return Dialects.all[claims[0]]
    case 0: throw AdapterFileError(path, .unrecognized(count: keys.count, examples: Array(keys.sorted().prefix(3))))
    default: throw AdapterFileError(path, .mixed(claims.map { evidence[$0] }, count: keys.count))
    }
  }

  /// Reads an adapter for a base model.
  public static func read(_ path: String, for base: ModuleNames) throws -> Adapter {
    try AdapterFile(path: path).adapter(for: base)
  }
}

// MARK: files and folders

extension AdapterFile {
  private static let usualNames = [PEFTDialect().fileName!, "pytorch_lora_weights.safetensors"]

  /// What the adapter is called: as its file, or as the folder where peft and diffusers call every file alike.
  package var name: String {
    let file = URL(filePath: path).absoluteURL.standardizedFileURL
    return Self.usualNames.contains(file.lastPathComponent)
      ? file.deletingLastPathComponent().lastPathComponent : file.deletingPathExtension().lastPathComponent
  }

  /// The files that `write` makes: a dialect may put a second one beside the tensors.
  package static func files(at path: String, as dialect: any Dialect) -> [String] {
    [path] + [dialect.companion.map { beside(path, $0) }].compactMap { $0 }
  }

  private static func file(at path: String) throws(AdapterFileError) -> String {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else { return path }
    let found = usualNames.map { "\(path)/\($0)" }.first(where: FileManager.default.fileExists)
    guard let found else { throw AdapterFileError(path, .noFile(names: usualNames)) }
    return found
  }

  /// The path of a file beside another.
  static func beside(_ path: String, _ name: String) -> String {
    URL(filePath: path).deletingLastPathComponent().appending(path: name).path
  }

  private static func companion(_ name: String, of path: String) throws(AdapterFileError) -> String? {
    guard let bytes = FileManager.default.contents(atPath: beside(path, name)) else { return nil }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw AdapterFileError(path, .unreadableCompanion(name)) }
    return text
  }

  static func naming<Result>(
    _ path: String, _ body: () throws(MetadataError) -> Result
  ) throws(AdapterFileError) -> Result {
    do throws(MetadataError) { return try body() } catch { throw AdapterFileError(path, .metadata(error)) }
  }
}
