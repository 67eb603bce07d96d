public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension TokenizerError: LocalizedError { public var errorDescription: String? { description } }
