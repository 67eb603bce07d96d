internal import Foundation
internal import SafeTensors

/// Names of the files that belong together.
enum Paths {
  /// `out/cat.safetensors` → `out/cat`
  static func stem(_ path: String) -> String {
    let name = name(path)
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return path }
    return String(path.dropLast(name.distance(from: dot, to: name.endIndex)))
  }

  /// `out/cat.safetensors` → `cat.safetensors`
  static func name(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

  static func record(of path: String) -> String { "\(path).json" }

  static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  static func isFolder(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
  }

  /// - Throws: `SettingError` with what the system said.
  static func makeFolder(_ path: String) throws {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw SettingError("\(path): the folder cannot be made (\(error.localizedDescription))")
    }
  }

  /// Refuses before the work what would be refused after it.
  ///
  /// - Throws: `AtomicFileError` for a file that is there, and for a folder that is not or cannot be written in.
  static func checkWritable(_ paths: [String], overwrite: Bool) throws {
    for path in paths { try AtomicFile.check(path, overwrite: overwrite) }
  }
}
