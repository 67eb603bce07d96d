public import Foundation

/// The folder of this repository.
public let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().path
/// The folder of reference values (Tests/Goldens/SCHEMA.md).
public let goldens = "\(repository)/Tests/Goldens"

public func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }
