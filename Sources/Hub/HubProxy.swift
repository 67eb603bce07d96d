internal import AsyncHTTPClient
internal import Foundation

#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// A proxy through which the hub is reached, as the variables name it that curl and Python read, too
/// (httpx: _utils.py get_environment_proxies).
///
/// A proxy of HTTP, with or without a password, or one of SOCKS 5 without: the client knows no others. One is used for all that
/// is fetched, be it from other hosts that the hub refers to.
public struct HubProxy: Sendable, Equatable, CustomStringConvertible {
  /// The variable that names it.
  public let variable: String
  /// `[http://][USER:PASSWORD@]HOST[:PORT]`, or `socks5://HOST[:PORT]`.
  public let address: String

  public init(variable: String, address: String) {
    self.variable = variable
    self.address = address
  }

  /// The one for what lies at an address; nil where that is reached without.
  init?(to endpoint: String, _ variables: [String: String]) {
    guard let url = URLComponents(string: endpoint), let scheme = url.scheme?.lowercased(), let host = url.host else {
      return nil
    }
    // A variable in lower case goes first, even where it is empty.
    func value(_ name: String) -> (variable: String, value: String)? {
      let found = [name, name.uppercased()].lazy.compactMap { name in variables[name].map { (name, $0) } }.first
      return found.flatMap { $0.1.isEmpty ? nil : $0 }
    }
    guard let proxy = value("\(scheme)_proxy") ?? value("all_proxy") else { return nil }
    let port = url.port ?? (scheme == "https" ? 443 : 80)
    let exceptions = value("no_proxy")?.value.split(separator: ",") ?? []
    guard !exceptions.contains(where: { Self.covers($0.trimmingCharacters(in: .whitespaces), host, port) }) else { return nil }
    self.init(variable: proxy.variable, address: proxy.value.trimmingCharacters(in: .whitespaces))
  }

  /// Where it is and who names it, without user and password.
  public var description: String {
    let scheme = address.contains("://") ? address.prefix { $0 != ":" } : "http"
    let host = address.split(separator: "@").last.map { $0.split(separator: "://").last ?? $0 } ?? ""
    return "\(scheme)://\(host) of \(variable)"
  }

  /// - Throws: `HubError` for an address that is none, and for kinds of proxies that the client does not know.
  func configuration(for id: HubID) throws -> HTTPClient.Configuration.Proxy {
    let url = URLComponents(string: address.contains("://") ? address : "http://\(address)")
    if let url, let host = url.host.map(Self.withoutBrackets), !host.isEmpty, (1...65_535).contains(url.port ?? 1) {
      switch url.scheme?.lowercased() {
      case "http":
        let authorization = url.user.map { HTTPClient.Authorization.basic(username: $0, password: url.password ?? "") }
        return .server(host: host, port: url.port ?? 80, authorization: authorization)
      case "socks5" where url.user == nil, "socks5h" where url.user == nil:
        return .socksServer(host: host, port: url.port ?? 1080)
      default: break
      }
    }
    throw HubError(id: id, reason: .unsupportedProxy("\(self)"))
  }

  // MARK: exceptions

  /// Whether an entry of `NO_PROXY` names a host: `*` for all, a domain with what is below it, `.domain` for what is below it
  /// alone, an address or a network of them, each with or without a port (httpx: _utils.py URLPattern).
  private static func covers(_ entry: String, _ host: String, _ port: Int) -> Bool {
    let host = withoutBrackets(host.lowercased())
    var entry = entry.lowercased()
    if let address = bytes(of: host) {
      let parts = withoutBrackets(entry).split(separator: "/", omittingEmptySubsequences: false)
      if let network = parts.first.flatMap({ bytes(of: String($0)) }), network.count == address.count {
        let length = parts.count == 1 ? 8 * network.count : Int(parts[1]) ?? -1
        return (0...8 * network.count).contains(length) && bits(network).prefix(length) == bits(address).prefix(length)
      }
    }
    if let colon = entry.lastIndex(of: ":"), let named = Int(entry[entry.index(after: colon)...]) {
      guard named == port else { return false }
      entry = withoutBrackets(String(entry[..<colon]))
    }
    if entry.hasPrefix("*.") { entry.removeFirst() }
    if entry == "*" || entry == host { return true }
    return !entry.isEmpty && host.hasSuffix(entry.hasPrefix(".") ? entry : ".\(entry)")
  }

  private static func withoutBrackets(_ host: String) -> String {
    host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
  }

  /// The four or sixteen bytes of an address in figures; nil for a name.
  private static func bytes(of host: String) -> [UInt8]? {
    for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
      var bytes = [UInt8](repeating: 0, count: count)
      if inet_pton(family, host, &bytes) == 1 { return bytes }
    }
    return nil
  }

  private static func bits(_ bytes: [UInt8]) -> [Bool] { bytes.flatMap { byte in (0..<8).map { byte << $0 & 0x80 != 0 } } }
}
