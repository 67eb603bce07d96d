import Foundation
import Hub
import TestHub
import Testing

@Suite(.onOwnThreads) struct HubProxyTests {
  private let cache: TemporaryCache
  private let model = FakeModel()

  init() throws { cache = try TemporaryCache() }

  private func environment(_ variables: [String: String], endpoint: String = "http://hub.invalid") -> HubEnvironment {
    var environment = HubEnvironment(variables.merging(["HF_ENDPOINT": endpoint]) { $1 })
    (environment.cache, environment.token) = (cache.path, nil)
    return environment
  }

  private func failure(_ environment: HubEnvironment) async throws -> String {
    let hub = Hub(environment, backoff: .milliseconds(1))
    return try await #require(throws: HubError.self) { try await hub.snapshot(of: FakeModel.id, .tokenizers) }.description
  }

  @Test("which variable names the proxy")
  func variables() {
    func proxy(_ variables: [String: String], _ endpoint: String = "https://hub.example") -> HubProxy? {
      environment(variables, endpoint: endpoint).proxy
    }
    #expect(proxy([:]) == nil)
    #expect(proxy(["HTTPS_PROXY": "http://p:1"]) == HubProxy(variable: "HTTPS_PROXY", address: "http://p:1"))
    #expect(proxy(["HTTP_PROXY": "http://p:1"]) == nil)
    #expect(proxy(["HTTP_PROXY": "http://p:1"], "http://hub.example")?.variable == "HTTP_PROXY")
    #expect(proxy(["HTTPS_PROXY": "http://p:1", "https_proxy": "q:2"])?.address == "q:2")
    #expect(proxy(["HTTPS_PROXY": "http://p:1", "https_proxy": ""]) == nil)
    #expect(proxy(["ALL_PROXY": "http://p:1"])?.variable == "ALL_PROXY")
    #expect(proxy(["ALL_PROXY": "http://p:1", "https_proxy": "q:2"])?.variable == "https_proxy")
  }

  @Test("hosts that are reached without")
  func exceptions() {
    func isDirect(_ endpoint: String, _ exceptions: String, _ name: String = "NO_PROXY") -> Bool {
      environment(["ALL_PROXY": "http://p:1", name: exceptions], endpoint: endpoint).proxy == nil
    }
    let hub = "https://Hub.Example.com/mirror"
    for exceptions in ["*", "hub.example.com", "other, example.com", ".example.com", "*.example.com", "HUB.example.com:443"] {
      #expect(isDirect(hub, exceptions) && isDirect(hub, exceptions, "no_proxy"), "\(exceptions)")
    }
    for exceptions in ["", "ample.com", "www.hub.example.com", "hub.example.com:80", "example", "10.0.0.0/8", ","] {
      #expect(!isDirect(hub, exceptions), "\(exceptions)")
    }
    #expect(!isDirect("https://example.com", ".example.com"))
    #expect(isDirect("http://localhost:8080", "localhost") && isDirect("http://localhost:8080", "localhost:8080"))
    for exceptions in ["10.1.2.3", "10.0.0.0/8", "10.1.2.2/31", "10.1.2.3:8080", "0.0.0.0/0"] {
      #expect(isDirect("http://10.1.2.3:8080", exceptions), "\(exceptions)")
    }
    for exceptions in ["10.1.2.4", "10.2.0.0/16", "10.0.0.0/33", "10.0.0.0/x", "::/0"] {
      #expect(!isDirect("http://10.1.2.3:8080", exceptions), "\(exceptions)")
    }
    for exceptions in ["fd00::1", "[fd00::1]", "fd00::/8", "[fd00::1]:80"] {
      #expect(isDirect("http://[fd00::1]", exceptions), "\(exceptions)")
    }
  }

  @Test(
    "everything comes through the proxy, be it of HTTP or SOCKS",
    arguments: ["http://us%40er:pass@", "", "socks5://", "socks5h://"])
  func tunnel(scheme: String) async throws {
    let model = model
    let server = try ScriptedServer { request, _ in model.answer(request) }
    let proxy = try TunnelProxy(to: server)
    // A name that no one knows but the proxy.
    let hub = Hub(environment(["http_proxy": scheme + proxy.address]), backoff: .milliseconds(1))
    #expect(try await hub.snapshot(of: FakeModel.id, .pipeline(variant: nil)) == cache.snapshot)
    for name in FakeModel.needed { #expect(try cache.bytes(name) == model.files[name]) }
    #expect(!proxy.heads.isEmpty)
    let password = "proxy-authorization: Basic \(Data("us@er:pass".utf8).base64EncodedString())\r\n"
    for head in proxy.heads {
      #expect(head.contains("hub.invalid"))
      #expect(head.hasPrefix("CONNECT hub.invalid:80 HTTP/1.1\r\n") == !scheme.hasPrefix("socks"))
      #expect(head.contains(password) == scheme.contains("@"))
    }
  }

  @Test("a proxy that cannot be reached, or wants a password, is named, and no password told")
  func unreachable() async throws {
    let message = try await failure(environment(["HTTP_PROXY": "http://user:secret@127.0.0.1:9"]))
    #expect(message.contains("http://hub.invalid/api/models/org/tiny/revision/main?blobs=true could not be reached ("))
    #expect(message.contains(", through the proxy http://127.0.0.1:9 of HTTP_PROXY)"))
    #expect(!message.contains("secret"))

    let closed = try ScriptedServer { _, _ in Answer(status: 407) }
    let refused = try await failure(environment(["ALL_PROXY": closed.address]))
    #expect(refused.contains("the proxy \(closed.address) of ALL_PROXY, which expects another USER:PASSWORD@ before its name"))
    #expect(closed.requests.count == 1)
  }

  @Test(
    "proxies that cannot be used",
    arguments: [
      "https://p:1", "socks4://p:1", "socks5://user:secret@p:1", "http://", "http://user:secret@p:99999", "ftp://user:secret@p",
    ])
  func unsupported(address: String) async throws {
    let message = try await failure(environment(["HTTP_PROXY": address]))
    let scheme = address.split(separator: ":")[0]
    #expect(message.hasPrefix("org/tiny: the proxy \(scheme)://"))
    #expect(message.contains(" of HTTP_PROXY cannot be used; expected http://[USER:PASSWORD@]HOST[:PORT] or socks5://HOST"))
    #expect(!message.contains("secret"))
  }
}
