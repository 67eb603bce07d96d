public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension AtomicFileError: LocalizedError { public var errorDescription: String? { description } }
extension SafeTensorsError: LocalizedError { public var errorDescription: String? { description } }
