public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension AdapterFileError: LocalizedError { public var errorDescription: String? { description } }
extension AttachmentError: LocalizedError { public var errorDescription: String? { description } }
extension MetadataError: LocalizedError { public var errorDescription: String? { description } }
extension RankError: LocalizedError { public var errorDescription: String? { description } }
extension TargetsError: LocalizedError { public var errorDescription: String? { description } }
