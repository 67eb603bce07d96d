internal import Foundation

/// Where the hub and its cache are, as the environment variables of Python's huggingface_hub say
/// (huggingface_hub: constants.py).
public struct HubEnvironment: Sendable {
  /// Folder of the cache that is shared with Python.
  public var cache: String
  /// Address of the hub or of a mirror, without a slash at its end.
  public var endpoint: String
  /// What opens private and gated models.
  public var token: String?
  /// Whether nothing may be fetched.
  public var isOffline: Bool
  /// Through what the endpoint is reached; nil for directly.
  public var proxy: HubProxy?

  public init(cache: String, endpoint: String, token: String? = nil, isOffline: Bool = false, proxy: HubProxy? = nil) {
    self.cache = cache
    self.endpoint = endpoint
    self.token = token
    self.isOffline = isOffline
    self.proxy = proxy
  }

  /// - Parameter variables: those of the process, say.
  public init(_ variables: [String: String]) {
    func value(_ names: String...) -> String? {
      names.lazy.compactMap { variables[$0] }.first { !$0.isEmpty }
    }
    func expanded(_ path: String) -> String { (path as NSString).expandingTildeInPath }
    // huggingface_hub: utils/_auth.py _clean_token
    func cleaned(_ token: String?) -> String? {
      let cleaned = token?.filter { !$0.isNewline }.trimmingCharacters(in: .whitespaces)
      return cleaned?.isEmpty == false ? cleaned : nil
    }
    let home = expanded(value("HF_HOME") ?? "\(value("XDG_CACHE_HOME") ?? "~/.cache")/huggingface")
    let tokenFile = expanded(value("HF_TOKEN_PATH") ?? "\(home)/token")
    let endpoint = value("HF_ENDPOINT") ?? "https://huggingface.co"
    func isTrue(_ setting: String?) -> Bool { ["1", "ON", "YES", "TRUE"].contains(setting?.uppercased()) }
    self.init(
      cache: expanded(value("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? "\(home)/hub"),
      endpoint: endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint,
      // huggingface_hub sends no token then that it is not given, and here nothing else gives one.
      token: isTrue(value("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        ? nil
        : cleaned(value("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
          ?? cleaned(try? String(contentsOfFile: tokenFile, encoding: .utf8)),
      isOffline: isTrue(value("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
      proxy: HubProxy(to: endpoint, variables))
  }

  /// Of this process.
  public static var current: HubEnvironment { HubEnvironment(ProcessInfo.processInfo.environment) }
}
