internal import Foundation
internal import SafeTensors

/// Names of the files that belong together.
package enum Paths {
  /// `out/cat.safetensors` → `out/cat`
  package static func stem(_ path: String) -> String {
    let name = name(path)
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return path }
    return String(path.dropLast(name.distance(from: dot, to: name.endIndex)))
  }

  /// `out/cat.safetensors` → `cat.safetensors`
  static func name(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

  package static func record(of path: String) -> String { "\(path).json" }

  /// The path without what makes no difference: `./a//b/` → `a/b`.
  package static func tidied(_ path: String) -> String {
    let parts = path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    return path.hasPrefix("/") ? "/\(parts)" : parts.isEmpty ? "." : parts
  }

  /// The same for every way to write a path: absolute, without links as far as there is something.
  static func resolved(_ path: String) -> String {
    var url = URL(filePath: path).standardizedFileURL
    var missing: [String] = []
    while !exists(url.path), url.pathComponents.count > 1 {
      missing.append(url.lastPathComponent)
      url.deleteLastPathComponent()
    }
    return missing.reversed().reduce(url.resolvingSymlinksInPath()) { $0.appending(path: $1) }.path
  }

  /// The folder that a file is in, resolved.
  static func folder(of path: String) -> String {
    resolved(URL(filePath: path).standardizedFileURL.deletingLastPathComponent().path)
  }

  package static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  package static func isFolder(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
  }

  /// - Throws: `SettingError` with what is in the way, or what the system said.
  package static func makeFolder(_ path: String) throws {
    // Foundation has no words for a file in the way.
    var place = URL(filePath: path).standardizedFileURL
    while !exists(place.path), place.pathComponents.count > 1 { place.deleteLastPathComponent() }
    guard isFolder(place.path) else {
      throw SettingError("\(path): the folder cannot be made (\(place.path) is a file); choose another name")
    }
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw SettingError("\(path): the folder cannot be made (\(error.systemReason)); choose another name")
    }
  }

  /// Refuses before the work what would be refused after it.
  ///
  /// - Throws: `AtomicFileError` for a file that is there, and for a folder that is not or cannot be written in; `SettingError` for a
  ///   name that leaves no room for those beside it (`.json`, `.state.safetensors`).
  package static func checkWritable(_ paths: [String], overwrite: Bool) throws {
    for path in paths {
      try AtomicFile.check(path, overwrite: overwrite)
      let bytes = name(path).utf8.count
      guard bytes <= longestName else {
        throw SettingError("\(path): a name of \(bytes) bytes; expected \(longestName) at most, choose a shorter one")
      }
    }
  }

  /// Of the 255 bytes that systems allow.
  private static let longestName = 220
}
