import Foundation
import Hub
import TestFiles
import Testing

@Suite struct HubEnvironmentTests {
  @Test("ids, and what is none")
  func ids() {
    let id = HubID("stabilityai/stable-diffusion-xl-base-1.0@refs/pr/7")
    #expect(id?.repository == "stabilityai/stable-diffusion-xl-base-1.0")
    #expect(id?.revision == "refs/pr/7")
    #expect(HubID("a/b")?.revision == "main")
    #expect(HubID("a/b").map { "\($0)" } == "a/b")
    for text in ["sdxl", "a/b/c", "/a/b", "./a", "../a", "a/", "a/b@", "a/b@../c", "a b/c", "a/b.safetensors", "ä/b", "a/..", ""]
    {
      #expect(HubID(text) == nil, "\(text)")
    }
  }

  @Test("variables of huggingface_hub")
  func variables() throws {
    let folder = try TemporaryFolder()
    let home = folder.path
    try "from file\n".write(toFile: "\(home)/token", atomically: true, encoding: .utf8)
    let plain = HubEnvironment(["HF_HOME": home])
    #expect(plain.cache == "\(home)/hub")
    #expect(plain.endpoint == "https://huggingface.co")
    #expect(plain.token == "from file")
    #expect(!plain.isOffline)
    let other = HubEnvironment([
      "HF_HOME": home, "HF_HUB_CACHE": "/cache", "HF_ENDPOINT": "https://mirror/", "HF_TOKEN": "t", "HF_HUB_OFFLINE": "true",
    ])
    #expect(other.cache == "/cache")
    #expect(other.endpoint == "https://mirror")
    #expect(other.token == "t")
    #expect(other.isOffline)
    for (token, expected) in [(" t\r\n", "t"), ("a\r\nb\n", "ab"), ("\n", "from file"), (" ", "from file")] {
      #expect(HubEnvironment(["HF_HOME": home, "HF_TOKEN": token]).token == expected)
    }
    #expect(HubEnvironment(["HF_HOME": home, "HF_TOKEN": "t", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"]).token == nil)
    try "\r\n".write(toFile: "\(home)/token", atomically: true, encoding: .utf8)
    #expect(HubEnvironment(["HF_HOME": home, "HF_TOKEN": "\n"]).token == nil)
    #expect(HubEnvironment(["XDG_CACHE_HOME": "/x", "HF_HOME": ""]).cache == "/x/huggingface/hub")
    #expect(HubEnvironment(["HF_HOME": "~/h"]).cache == "\(NSHomeDirectory())/h/hub")
    #expect(HubEnvironment(["HF_HUB_OFFLINE": "0"]).isOffline == false)
  }
}
