public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension CheckpointError: LocalizedError { public var errorDescription: String? { description } }
extension ConfigurationError: LocalizedError { public var errorDescription: String? { description } }
extension SamplingError: LocalizedError { public var errorDescription: String? { description } }
extension TextToImageError: LocalizedError { public var errorDescription: String? { description } }
