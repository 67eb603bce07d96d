internal import Foundation

extension Error {
  /// Why a file or folder cannot be had, in a few words; Foundation's are about an operation that could not be completed.
  package var systemReason: String {
    guard let error = self as? CocoaError else { return localizedDescription }
    return switch error.code {
    case .fileNoSuchFile, .fileReadNoSuchFile: "no such file or folder"
    case .fileReadNoPermission, .fileWriteNoPermission: "permission denied"
    case .fileWriteOutOfSpace: "no space is left on the disk"
    case .fileWriteVolumeReadOnly: "the disk is read-only"
    case .fileReadInapplicableStringEncoding, .fileReadCorruptFile: "it is no UTF-8"
    default: localizedDescription
    }
  }
}
