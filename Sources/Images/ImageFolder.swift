internal import Foundation
internal import SafeTensors

/// The pictures of a folder, sorted by file name (byte by byte, so that every machine agrees), and their prompts.
///
/// What the folder may hold:
/// - pictures: PNG, JPEG or WebP by content, whatever they are called;
/// - `NAME.txt` or `NAME.caption` beside a picture `NAME.png` (or any other extension): the prompt of that picture;
/// - `prompts.txt`: one line `FILE: PROMPT` per picture, another way to write the same;
/// - `prompt.txt`: the prompt of every picture that has none of its own;
/// - hidden files (a leading dot), `Thumbs.db` and `desktop.ini`, which are passed over, as are the records of runs that
///   stand beside pictures made here: `run.json`, and `NAME.png.json` beside `NAME.png`; and what sd-scripts keeps of pictures, files
///   whose names begin with that of a picture and end in `.npz`.
///
/// Or folders of all this as sd-scripts has them and nothing beside them: those in `10_sbu dog` are shown ten times as often as those in
/// `1_dog`, and "sbu dog" is the prompt of those that have none.
///
/// Anything else is an error that names it, as a picture silently left out would change a training run.
/// Prompts are UTF-8 and of one line: white space around them does not count, and a line break is a space. All pictures are held
/// in memory.
public struct ImageFolder: Sendable {
  /// A picture of the folder.
  public struct Picture: Sendable {
    /// The file's path in the folder.
    public let name: String
    public let image: Image
    /// The picture's own prompt, else that of `prompt.txt`, else that in the name of its folder, else nil.
    public let prompt: String?
    /// How often it is shown beside others.
    public let repeats: Int
  }

  public let path: String
  /// At least one, sorted by name.
  public let pictures: [Picture]
  /// The files that prompts come from, by their paths in the folder, sorted.
  public let captions: [String]

  /// Reads every picture and prompt of a folder.
  ///
  /// - Throws: `ImageError`, which names the file that is at fault.
  public init(contentsOf path: String) throws {
    self.path = path
    let parts = try Self.parts(of: path)
    let pictures = try parts.flatMap { part in
      try part.pictures.map { name in
        let image = try Image(contentsOf: Self.join(part.path, name))
        return Picture(name: part.prefix + name, image: image, prompt: part.prompts[name], repeats: part.repeats)
      }
    }
    if pictures.isEmpty {
      throw ImageError.invalidFolder(path: path, reason: "no pictures in this folder; expected PNG, JPEG or WebP files")
    }
    self.pictures = pictures
    captions = parts.flatMap { part in part.texts.map { part.prefix + $0 } }
  }

  /// The pictures of a folder by their paths in it, of which there may be none, sorted.
  ///
  /// - Throws: `ImageError` for all that `init(contentsOf:)` refuses but pictures that cannot be decoded, which takes long to tell.
  public static func pictureNames(in path: String) throws -> [String] {
    try parts(of: path).flatMap { part in part.pictures.map { part.prefix + $0 } }
  }

  /// The folder itself, or one of those in it.
  private struct Part {
    let path: String
    /// What names in it begin with.
    let prefix: String
    let repeats: Int
    let pictures: [String]
    let texts: [String]
    let prompts: Prompts
  }

  private static func parts(of path: String) throws -> [Part] {
    let names = try visibleNames(in: path)
    let folders = names.compactMap { name in RepeatedFolder(name).map { (name, $0) } }.filter { isFolder(join(path, $0.0)) }
    guard !folders.isEmpty else { return [try part(path, names: names)] }
    if let other = names.first(where: { name in !folders.contains { $0.0 == name } }) {
      throw ImageError.invalidFolder(
        path: join(path, other),
        reason: "beside a folder of pictures and how often they are shown (\(folders[0].0)); expected nothing but such folders")
    }
    return try folders.map { name, folder in
      let path = join(path, name)
      return try part(path, names: visibleNames(in: path), prefix: "\(name)/", folder)
    }
  }

  /// In bytes.
  private static let longestText = 1 << 20

  private static func part(
    _ path: String, names: [String], prefix: String = "", _ folder: RepeatedFolder? = nil
  ) throws -> Part {
    var pictures: [String] = []
    var texts: [(name: String, bytes: [UInt8])] = []
    for name in names {
      let file = join(path, name)
      if isPicture(file) {
        pictures.append(name)
        continue
      }
      guard [".txt", ".caption"].contains(where: name.lowercased().hasSuffix) else {
        throw ImageFormat.unknown(try Image.fileContents(file, upTo: 4096), name: file)
      }
      let bytes = try Image.fileContents(file, upTo: longestText + 1)
      guard bytes.count <= longestText else {
        throw ImageError.invalidFolder(path: file, reason: "more than \(longestText) bytes, which is no prompt; remove it")
      }
      texts.append((name, bytes))
    }
    return Part(
      path: path, prefix: prefix, repeats: folder?.repeats ?? 1, pictures: pictures, texts: texts.map(\.name),
      prompts: try Prompts(texts: texts, pictureNames: pictures, folder: path, common: folder?.prompt))
  }

  /// Whether the first bytes say so; not where there are none to read.
  private static func isPicture(_ path: String) -> Bool {
    guard Image.isRegularFile(path), let file = FileHandle(forReadingAtPath: path) else { return false }
    defer { try? file.close() }
    guard let start = try? file.read(upToCount: 16) else { return false }
    return ImageFormat(of: start) != nil
  }

  private static func isFolder(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
  }

  private static func visibleNames(in path: String) throws -> [String] {
    guard FileManager.default.fileExists(atPath: path) else {
      throw ImageError.invalidFolder(path: path, reason: "no such folder; expected a folder of PNG, JPEG or WebP files")
    }
    guard isFolder(path) else {
      throw ImageError.invalidFolder(path: path, reason: "a file; expected a folder of PNG, JPEG or WebP files")
    }
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path)
    } catch {
      throw ImageError.invalidFolder(path: path, reason: "cannot be listed (\(error.systemReason))")
    }
    let ignored = ["thumbs.db", "desktop.ini"]
    func isRecord(_ name: String) -> Bool {
      name == "run.json" || name.hasSuffix(".json") && names.contains(String(name.dropLast(".json".count)))
    }
    let visible = names.filter { !$0.hasPrefix(".") && !ignored.contains($0.lowercased()) && !isRecord($0) }
    let stems = visible.filter { !$0.hasSuffix(".npz") }.map(stem)
    func isKeptOfPicture(_ name: String) -> Bool {
      name.hasSuffix(".npz") && stems.contains { name == "\($0).npz" || name.hasPrefix("\($0)_") }
    }
    return visible.filter { !isKeptOfPicture($0) }
      .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  fileprivate static func join(_ folder: String, _ name: String) -> String {
    folder.hasSuffix("/") ? folder + name : "\(folder)/\(name)"
  }

  fileprivate static func stem(_ name: String) -> Substring {
    name.lastIndex(of: ".").map { name[..<$0] } ?? name[...]
  }
}

/// What sd-scripts reads in the name of a folder of pictures: `10_sbu dog` (library/config_util.py
/// generate_dreambooth_subsets_config_by_subdirs).
private struct RepeatedFolder {
  let repeats: Int
  let prompt: String?

  init?(_ name: String) {
    let parts = name.split(separator: "_", maxSplits: 1, omittingEmptySubsequences: false)
    // Whoever names folders by years or by numbers of more digits means something else.
    guard parts[0].utf8.count <= 3, let repeats = Int(parts[0]), repeats > 0 else { return nil }
    self.repeats = repeats
    let text = parts.count == 2 ? String(parts[1]).onOneLine : ""
    prompt = text.isEmpty ? nil : text
  }
}

/// The prompts of a folder's text files, matched with its pictures.
private struct Prompts {
  /// Only looked up by name, never listed.
  private var own: [String: (prompt: String, source: String)] = [:]
  private var common: String?

  subscript(name: String) -> String? { own[name]?.prompt ?? common }

  /// - Parameter common: the prompt of pictures that have none, where `prompt.txt` says nothing else.
  init(texts: [(name: String, bytes: [UInt8])], pictureNames: [String], folder: String, common: String?) throws {
    self.common = common
    for (name, bytes) in texts {
      let path = ImageFolder.join(folder, name)
      let captioned = pictureNames.filter { ImageFolder.stem($0) == ImageFolder.stem(name) }
      guard !captioned.isEmpty || ["prompt.txt", "prompts.txt"].contains(name) else {
        guard case .notAPicture(_, "a text file", _) = ImageFormat.unknown(bytes, name: path) else {
          throw ImageFormat.unknown(bytes, name: path)
        }
        throw ImageError.notAPicture(
          name: path, found: "a text file", advice: "remove it; a caption has the name of its picture, as a.txt beside a.png")
      }
      guard let text = String(validating: bytes, as: UTF8.self).map(Self.trimmed), !text.isEmpty else {
        throw ImageError.invalidFolder(path: path, reason: "empty or not UTF-8; expected a prompt as UTF-8 text")
      }
      if !captioned.isEmpty {
        for picture in captioned { try add(text.onOneLine, to: picture, from: path) }
      } else if name == "prompt.txt" {
        self.common = text.onOneLine
      } else {
        try addLines(of: text, pictureNames: pictureNames, path: path)
      }
    }
  }

  private mutating func addLines(of text: String, pictureNames: [String], path: String) throws {
    for line in text.split(whereSeparator: \.isNewline).map(Self.trimmed) where !line.isEmpty {
      // The longest name that fits: a file name may itself contain a colon.
      let matching = pictureNames.filter { line.hasPrefix($0 + ":") }.max { $0.count < $1.count }
      guard let picture = matching else {
        throw ImageError.invalidFolder(
          path: path, reason: "no picture for the line \"\(line)\"; expected FILE: PROMPT with a picture of this folder")
      }
      let prompt = Self.trimmed(line.dropFirst(picture.count + 1))
      if prompt.isEmpty { throw ImageError.invalidFolder(path: path, reason: "no prompt after \"\(picture):\"") }
      try add(prompt, to: picture, from: path)
    }
  }

  private mutating func add(_ prompt: String, to picture: String, from source: String) throws {
    if let other = own[picture] {
      throw ImageError.invalidFolder(
        path: source, reason: "a second prompt for \(picture), which has one from \(other.source); remove one of them")
    }
    own[picture] = (prompt, source)
  }

  private static func trimmed(_ text: some StringProtocol) -> String {
    // Some editors start UTF-8 files with a byte order mark.
    text.trimmingCharacters(in: .whitespacesAndNewlines.union(["\u{FEFF}"]))
  }
}

extension String {
  /// As prompts are read: LoRA files list theirs line by line.
  package var onOneLine: String {
    split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
      .joined(separator: " ")
  }
}
