public import Foundation

// Foundation would call them "The operation could not be completed" wherever an app shows `localizedDescription`.
extension LaunchError: LocalizedError { public var errorDescription: String? { description } }
extension LoadingError: LocalizedError { public var errorDescription: String? { description } }
extension ProcessGroupError: LocalizedError { public var errorDescription: String? { description } }
extension TensorFileError: LocalizedError { public var errorDescription: String? { description } }
extension TorchError: LocalizedError { public var errorDescription: String? { description } }
