internal import Foundation

extension Error {
  /// What the system said, in its own words; Foundation's are about an operation that could not be completed.
  package var systemReason: String {
    var error = self as NSError
    while error.domain != NSPOSIXErrorDomain, let cause = error.userInfo[NSUnderlyingErrorKey] as? NSError { error = cause }
    guard error.domain == NSPOSIXErrorDomain else { return localizedDescription }
    return String(cString: strerror(Int32(error.code))).lowercased()
  }
}
