import Foundation
import LoRA
import Merging
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch
import Workflows

/// Commands on files of bases that are known without having them, and what is told of files that only look like those.
@Suite struct KnownBaseTests {
  /// What tests make for the commands to read.
  let sources: TemporaryFolder
  let folder: TemporaryFolder

  init() throws { (sources, folder) = (try TemporaryFolder(), try TemporaryFolder()) }

  static let transformer = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
  static let (query, key) = ("\(transformer).attn1.to_q", "\(transformer).attn2.to_k")
  static let projection = "unet.down_blocks.1.attentions.0.proj_in"
  static let text = "text_encoder.text_model.encoder.layers.0.mlp.fc1"

  private func adapter(
    _ paths: [String], of base: KnownBase = .stableDiffusionXL, rank: Int = 2, seed: UInt64, dtype: DType = .float32
  ) throws -> Adapter {
    let (names, generator) = (try base.moduleNames, Generator(seed: seed))
    let factors = paths.map { path in
      let shape = names.shapes[path]!
      return LowRankFactors(
        down: .randn([rank] + shape.dropFirst(), generator: generator, dtype: dtype),
        up: .randn([shape[0], rank] + shape.dropFirst(2).map { _ in 1 }, generator: generator, dtype: dtype), alpha: 1)
    }
    return Adapter(factors: OrderedDictionary(uniqueKeysWithValues: Swift.zip(paths, factors)))
  }

  /// Writes a LoRA of a known base and gives its path.
  @discardableResult
  private func write(
    _ adapter: Adapter, _ name: String, as dialect: String = "kohya", for base: KnownBase = .stableDiffusionXL
  ) throws -> String {
    let path = sources(name)
    try FileManager.default.createDirectory(
      at: URL(filePath: path).deletingLastPathComponent(), withIntermediateDirectories: true)
    try AdapterFile.write(adapter, to: path, as: #require(Dialects.named(dialect)), for: base.moduleNames)
    return path
  }

  private func merge(_ files: String..., output: String, _ options: String...) -> [String] {
    ["merge", "--method", "direct", "--output", output] + files.flatMap { ["--lora", $0] } + options
  }

  private func expectRefusal(
    _ arguments: [String], _ message: String, left: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let run = try Binary.run(arguments)
    #expect(run.status == 1, sourceLocation: sourceLocation)
    #expect(run.errors.contains(message), "\(run.errors)", sourceLocation: sourceLocation)
    #expect(try folder.names == left, sourceLocation: sourceLocation)
  }

  @Test("LoRAs that change different layers are weighed anew, converted or not", arguments: ["kohya", "diffusers"])
  func reweightingExceptions(dialect: String) throws {
    let inputs = [
      MergeInput("cat", try adapter([Self.query, Self.key, Self.projection], seed: 1)),
      MergeInput("ink", try adapter([Self.query, Self.key], seed: 2), weight: 0.25),
    ]
    for input in inputs { try write(input.adapter, "\(input.name).safetensors") }
    let merged = folder("both.safetensors")
    try #require(
      try Binary.run(
        merge(sources("cat.safetensors"), sources("ink.safetensors"), output: merged, "--dialect", dialect)
      ).status == 0)
    #expect(try MergeShares(metadata: AdapterFile(path: merged).metadata).exceptions.count == 1)
    try Binary.succeed("reweight", merged, "--style-weight", "0.25", "--output", folder("soft.safetensors"))
    let found = try AdapterFile.read(folder("soft.safetensors"), for: KnownBase.stableDiffusionXL.moduleNames)
    let error = try difference(found, DirectMerge().merge(inputs, context: MergeContext()).adapter)
    #expect(error <= 1e-6, "\(error)")
  }

  @Test("a layer that a known base lacks is told by merge and by inspect")
  func unknownLayer() throws {
    let stranger = "lora_unet_down_blocks_1_motion_modules_0_proj_in"
    let key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    try saveSafeTensors(
      [
        "\(key).lora_down.weight": .ones([2, 2048]), "\(key).lora_up.weight": .ones([640, 2]),
        "\(stranger).lora_down.weight": .ones([2, 640]), "\(stranger).lora_up.weight": .ones([640, 2]),
      ], to: sources("motion.safetensors"))
    let other = try write(adapter([Self.query, Self.key], seed: 2), "ink.safetensors")
    let message = "no layer of the base model is called \(stranger)"
    try expectRefusal(merge(sources("motion.safetensors"), other, output: folder("a.safetensors")), message)
    let inspection = try Binary.succeed("inspect", sources("motion.safetensors"))
    #expect(inspection.contains(message), "\(inspection)")
    #expect(try !Binary.succeed("inspect", other).contains("problems"))
  }

  @Test("files of two families are told apart, and a text encoder's goes with the family of the other")
  func families() throws {
    let first = try write(
      adapter([Self.query, Self.key], of: .stableDiffusion1, seed: 1), "sd1.safetensors", for: .stableDiffusion1)
    let second = try write(adapter([Self.query, Self.key], seed: 2), "sdxl.safetensors")
    try expectRefusal(
      merge(first, second, output: folder("a.safetensors")),
      "\(first) is for Stable Diffusion 1.x and \(second) for Stable Diffusion XL")
    // SD 1.x has that text encoder, too.
    let text = try write(adapter([Self.text], seed: 3), "text.safetensors", as: "diffusers")
    let run = try Binary.run(merge(text, second, output: folder("a.safetensors"), "--dialect", "kohya"))
    try #require(run.status == 0, "\(run.errors)")
    #expect(try AdapterFile(path: folder("a.safetensors")).layers.keys.contains { $0.hasPrefix("lora_te1_") })
  }

  @Test("a file that is made thinner keeps its type, and its record knows what it was", arguments: ["resize", "convert"])
  func rewritingInPlace(command: String) throws {
    let path = folder("a.safetensors")
    let stem = "lora_unet_input_blocks_4_1_proj_in"
    let generator = Generator(seed: 1)
    func random(_ shape: Int...) -> Tensor { .randn(shape, generator: generator, dtype: .float16) }
    try saveSafeTensors(
      command == "resize"
        ? ["\(stem).lora_down.weight": random(4, 640), "\(stem).lora_up.weight": random(640, 4)]
        : [
          "\(stem).hada_w1_a": random(640, 2), "\(stem).hada_w1_b": random(2, 640), "\(stem).hada_w2_a": random(640, 2),
          "\(stem).hada_w2_b": random(2, 640),
        ], metadata: ["ss_base_model_version": "sdxl_base_v1-0"], to: path)
    let before = try FileDigest(of: path)
    let exact = try AdapterFile(path: path).adapter(for: KnownBase.stableDiffusionXL.moduleNames)
    try Binary.run([command, path, "--overwrite", "--output", path] + (command == "resize" ? ["--rank", "2"] : []))
    let file = try AdapterFile(path: path)
    #expect(file.layers.values.allSatisfy { $0.form.dtype == .float16 && $0.rank == (command == "resize" ? 2 : 4) })
    if command == "convert" {
      let error = try difference(file.adapter(for: KnownBase.stableDiffusionXL.moduleNames), exact)
      #expect(error <= 2e-3, "\(error)")
    }
    let record = try JSONSerialization.jsonObject(with: bytes("\(path).json")) as? [String: Any]
    let inputs = try #require(record?["inputs"] as? [[String: Any]])
    #expect(inputs.count == 1 && inputs[0]["sha256"] as? String == before.sha256)
  }

  @Test("the configuration beside peft's file is checked before the work and recorded after it")
  func companions() throws {
    let files = try [("cat", 1), ("ink", 2)].map { name, seed in
      try write(adapter([Self.query, Self.key], seed: seed), "\(name).safetensors")
    }
    let (output, configuration) = (folder("adapter_model.safetensors"), folder("adapter_config.json"))
    let precious = Data("precious".utf8)
    try precious.write(to: URL(filePath: configuration))
    let arguments = merge(files[0], files[1], output: output, "--dialect", "peft")
    try expectRefusal(arguments, "adapter_config.json: exists already", left: ["adapter_config.json"])
    #expect(try bytes(configuration) == precious)
    try FileManager.default.removeItem(atPath: configuration)
    try #require(try Binary.run(arguments).status == 0)
    let record = try JSONDecoder().decode(RunRecord<MergeAdapters>.self, from: bytes("\(output).json"))
    #expect(record.outputs.map(\.path) == [output, configuration, folder("adapter_model.report.json")])
  }

  @Test("folders of diffusers give their names, and equal names get numbers")
  func names() throws {
    for (name, seed) in [("dog", 1), ("ink", 2)] {
      try write(
        adapter([Self.query, Self.key], seed: UInt64(seed)), "\(name)/pytorch_lora_weights.safetensors", as: "diffusers")
    }
    let output = folder("a.safetensors")
    try #require(try Binary.run(merge(sources("dog"), sources("ink"), sources("dog"), output: output)).status == 0)
    let metadata = try AdapterFile(path: output).metadata
    #expect(metadata["modelspec.merged_from"] == "dog 1, ink, dog 2")
    #expect(try MergeShares(metadata: metadata).inputs.map(\.name) == ["dog 1", "ink", "dog 2"])
    let record = try JSONDecoder().decode(RunRecord<MergeAdapters>.self, from: bytes("\(output).json"))
    #expect(record.inputs.map(\.path).allSatisfy { $0.hasSuffix("/pytorch_lora_weights.safetensors") })
  }

  @Test("what had to be supposed about a file is a warning")
  func remarks() throws {
    let file = try write(adapter([Self.query, Self.key], seed: 1), "a.safetensors", as: "peft")
    try FileManager.default.removeItem(atPath: sources("adapter_config.json"))
    let run = try Binary.run(["convert", file, "--output", folder("a.safetensors")])
    try #require(run.status == 0, "\(run.errors)")
    #expect(run.errors.contains("warning: \(file): there is no adapter_config.json beside the file"), "\(run.errors)")
  }

  @Test("a layer that cannot be merged is an error of that layer", arguments: ["svd", "ties"])
  func failingLayer(method: String) throws {
    // Without memory there are no numbers to look at.
    let hollow = Adapter(factors: [
      Self.query: LowRankFactors(down: .ones([2, 8], device: .meta), up: .ones([9, 2], device: .meta), alpha: 1)
    ])
    let inputs = ["a", "b"].map { MergeInput($0, hollow) }
    let configured = try #require(MergeMethods.named(method))
    #expect(throws: TorchError.self) { try configured.merge(inputs, context: MergeContext()) }
  }
}
