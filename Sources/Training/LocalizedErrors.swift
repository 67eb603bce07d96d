public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension Diverged: LocalizedError { public var errorDescription: String? { description } }
extension Interrupted: LocalizedError { public var errorDescription: String? { description } }
