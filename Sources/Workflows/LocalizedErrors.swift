public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension FileDigestError: LocalizedError { public var errorDescription: String? { description } }
extension SettingError: LocalizedError { public var errorDescription: String? { description } }
