import Foundation
import ReaderTrial
import TestFiles
import Testing

/// Every file that the fuzzer found worth keeping (`make fuzz`), through all readers again: one that once crashed them stays
/// harmless.
@Suite struct CorpusTests {
  static let fuzz = "\(repository)/Fuzz"

  private let scratch: TemporaryFolder

  init() throws { scratch = try TemporaryFolder() }

  static func files(in folder: String) -> [String] {
    let names = try? FileManager.default.contentsOfDirectory(atPath: "\(fuzz)/\(folder)")
    return (names ?? []).sorted().map { "\(folder)/\($0)" }
  }

  /// How far each of these files comes, one after the other.
  private func reaches(_ files: [String]) throws -> [ReaderTrial.Reach] {
    let trial = try ReaderTrial(in: URL(filePath: scratch.path))
    return try files.map { file in try bytes("\(Self.fuzz)/\(file)").withUnsafeBytes { try trial.run($0) } }
  }

  @Test("a finding, once mended, gives an adapter or an error", arguments: files(in: "Findings"))
  func finding(file: String) throws {
    #expect(try reaches([file]) != [.nothing], "it is a safetensors file")
  }

  @Test func corpus() throws {
    let files = Self.files(in: "Corpus")
    let found = Set(try reaches(files))
    #expect(found == Set(ReaderTrial.Reach.allCases), "some file comes as far as each of these")
    let sizes = try files.map { try bytes("\(Self.fuzz)/\($0)").count }
    #expect(files.count <= 300 && sizes.reduce(0, +) <= 150_000, "small enough for every copy of the repository")
  }

  @Test("what the readers make of sound and unsound bytes")
  func reach() throws {
    let trial = try ReaderTrial(in: URL(filePath: scratch.path))
    func run(_ header: String, data: Int = 0) throws -> ReaderTrial.Reach {
      let bytes = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8)
      return try (bytes + Array(repeating: 0x3C, count: data)).withUnsafeBytes { try trial.run($0) }
    }
    func layer(_ stem: String) -> String {
      #"{"\#(stem).lora_down.weight":{"dtype":"F16","shape":[1,4],"data_offsets":[0,8]},"#
        + #""\#(stem).lora_up.weight":{"dtype":"F16","shape":[6,1],"data_offsets":[8,20]}}"#
    }
    #expect(try run("{") == .nothing)
    #expect(try run("{}") == .tensors)
    #expect(try run(layer("lora_unet_nowhere"), data: 20) == .layers)
    #expect(try run(layer("lora_unet_mid_block_attentions_0_proj_in"), data: 20) == .adapter)
  }
}
