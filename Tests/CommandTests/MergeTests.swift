import Diffusion
import Foundation
import LoRA
import Merging
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch
import Training
import Workflows

/// `ziplora merge` and `ziplora reweight`, as a user starts them.
@Suite struct MergeTests {
  let folder: TemporaryFolder
  /// What tests make for the commands to read.
  let sources: TemporaryFolder
  let golden = "\(goldens)/adapters/attention/kohya.safetensors"

  init() throws { (folder, sources) = (try TemporaryFolder(), try TemporaryFolder()) }

  private func adapter(_ path: String) throws -> Adapter { try AdapterFile(path: path).unresolved().adapter }

  @Test("half a file twice is the file", arguments: ["direct", "svd", "knots"])
  func twice(method: String) throws {
    let trimming = method == "knots" ? ["--density", "1"] : []
    let run = try Binary.run(
      ["merge", "--method", method, "--lora", "\(golden):0.5", "--lora", "\(golden):0.5", "--output", folder("a.safetensors")]
        + trimming)
    try #require(run.status == 0, "\(run.errors)")
    #expect(try folder.names == ["a.report.json", "a.safetensors", "a.safetensors.json"])
    #expect(run.output.contains("136 shared layers merged, 0 in one LoRA only"), "\(run.output)")
    #expect(try difference(adapter(folder("a.safetensors")), adapter(golden)) < 1e-5)
    let file = try AdapterFile(path: folder("a.safetensors"))
    #expect(file.metadata["modelspec.merged_from"] == "kohya 1, kohya 2")
    #expect(file.layers.values.allSatisfy { $0.rank == (method == "svd" ? 4 : method == "direct" ? 8 : $0.rank) })

    let record = try JSONDecoder().decode(RunRecord<MergeAdapters>.self, from: bytes(folder("a.safetensors.json")))
    #expect(record.workflow == "merge" && record.settings.method == method)
    #expect(record.settings.loras == Array(repeating: WeightedFile(golden, weight: 0.5), count: 2))
    let report = try JSONDecoder().decode(MergeReport.self, from: bytes(folder("a.report.json")))
    #expect(report.method == method && report.inputs.map(\.weight) == [0.5, 0.5])
  }

  @Test("every method writes the same bytes twice", arguments: MergeMethods.onWeights.map(\.name))
  func sameBytes(method: String) throws {
    let loras = try TrainedLoRAs.shared.get()
    for name in ["one", "two"] {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
      let run = try Binary.run([
        "merge", "--method", method, "--lora", loras.subject, "--lora", "\(loras.style):0.7", "--save-dtype", "bfloat16",
        "--output", folder("\(name)/a.safetensors"),
      ])
      try #require(run.status == 0, "\(run.errors)")
      // What is dropped at random or trimmed is of no low rank, and the user hears of it.
      #expect(run.errors.contains("warning: what") == ["prune", "ties", "dare", "dare-ties", "della"].contains(method))
    }
    #expect(try bytes(folder("one/a.safetensors")) == bytes(folder("two/a.safetensors")))
    #expect(try AdapterFile(path: folder("one/a.safetensors")).layers.values.allSatisfy { $0.dtype == .bfloat16 })
  }

  @Test("files of different dialects are merged by way of the base, into any dialect")
  func dialects() throws {
    let peft = "\(goldens)/adapters/attention/peft.safetensors"
    let files = ["--lora", golden, "--lora", peft, "--output", folder("a.safetensors")]
    let refused = try Binary.run(["merge", "--method", "direct"] + files)
    #expect(refused.status == 1)
    #expect(refused.errors.contains("which name layers differently; give the base model"), "\(refused.errors)")
    #expect(try folder.names == [])
    let run = try Binary.run(["merge", "--method", "direct", "--base", base, "--dialect", "diffusers"] + files)
    try #require(run.status == 0, "\(run.errors)")
    let file = try AdapterFile(path: folder("a.safetensors"))
    #expect(file.dialect.name == "diffusers" && file.layers.count == 136)
  }

  @Test("for a known base, no base is needed for that")
  func dialectsOfKnownBase() throws {
    let names = try KnownBase.stableDiffusionXL.moduleNames
    let path = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    let generator = Generator(seed: 3)
    let inputs = try [("kohya", 0.5), ("diffusers", -2)].map { dialect, weight in
      let factors = LowRankFactors(
        down: .randn([2, 2048], generator: generator), up: .randn([640, 2], generator: generator), alpha: 1)
      let adapter = Adapter(factors: [path: factors])
      try AdapterFile.write(adapter, to: sources(dialect + ".safetensors"), as: Dialects.named(dialect)!, for: names)
      return MergeInput(dialect, adapter, weight: weight)
    }
    let files = inputs.flatMap { ["--lora", "\(sources($0.name + ".safetensors")):\($0.weight)"] }
    let run = try Binary.run(
      ["merge", "--method", "direct", "--dialect", "peft", "--output", folder("adapter_model.safetensors")] + files)
    try #require(run.status == 0, "\(run.errors)")
    let file = try AdapterFile(path: folder("adapter_model.safetensors"))
    let expected = try DirectMerge().merge(inputs, context: MergeContext()).adapter
    #expect(file.dialect.name == "peft")
    #expect(try difference(file.adapter(for: names), expected) < 1e-6)
  }

  @Test("a zip weighed anew is the zip with those weights, without its base and its LoRAs")
  func reweighting() throws {
    let loras = try TrainedLoRAs.shared.get()
    let zip = try Binary.run(loras.zip(steps: 3, output: folder("zip.safetensors")))
    try #require(zip.status == 0, "\(zip.errors)")
    let output = try Binary.succeed(
      "reweight", folder("zip.safetensors"), "--style-weight", "0.25", "--output", folder("soft.safetensors"))
    #expect(output.contains("dog") && output.contains("0.25"), "\(output)")
    let file = try AdapterFile(path: folder("zip.safetensors"))
    let (coefficients, names) = try MergerCoefficients.read(folder("zip.coefficients.safetensors"))
    let model = try DiffusionModel(folder: base).moduleNames
    let inputs = try Swift.zip(names, [loras.subject, loras.style]).map { name, path in
      MergeInput(name, try AdapterFile(path: path).adapter(for: model))
    }
    let expected = coefficients.zipped(inputs, strengths: [1, 0.25])
    let found = try AdapterFile(path: folder("soft.safetensors"))
    #expect(try difference(found.adapter(for: model), expected) < 1e-6)
    #expect(found.metadata["ziplora.prompts"] == file.metadata["ziplora.prompts"])
    #expect(found.dialect.name == "kohya")
    let record = try JSONDecoder().decode(RunRecord<ReweightAdapter>.self, from: bytes(folder("soft.safetensors.json")))
    #expect(record.settings.weights == [nil, 0.25])

    // At the old weights it is the old file.
    try Binary.succeed(
      "reweight", folder("soft.safetensors"), "--style-weight", "1", "--output", folder("back.safetensors"))
    #expect(try difference(adapter(folder("back.safetensors")), adapter(folder("zip.safetensors"))) < 1e-6)
  }

  @Test("whose ranks are whose is known after a conversion, too", arguments: ["diffusers", "peft"])
  func reweightingConverted(dialect: String) throws {
    let names = try DiffusionModel(folder: base).moduleNames
    let paths = ["to_q", "to_k", "to_v"].map { "unet.mid_block.attentions.0.transformer_blocks.0.attn1.\($0)" }
    // In one layer the ranks are not those of the others, so that the metadata names it.
    for (seed, (name, ranks)) in [("cat", [2, 3, 2]), ("ink", [1, 1, 1])].enumerated() {
      let generator = Generator(seed: UInt64(seed))
      let factors = Swift.zip(paths, ranks).map { path, rank in
        let shape = names.shapes[path]!
        return LowRankFactors(
          down: .randn([rank, shape[1]], generator: generator), up: .randn([shape[0], rank], generator: generator), alpha: 1)
      }
      try AdapterFile.write(
        Adapter(
          factors: OrderedDictionary(uniqueKeysWithValues: Swift.zip(paths, factors)),
          metadata: ["modelspec.trigger_phrase": "a \(name)"]),
        to: sources("\(name).safetensors"), as: Dialects.kohya, for: names)
    }
    let (merged, converted) = (folder("both.safetensors"), folder("adapter_model.safetensors"))
    try Binary.succeed(
      "merge", "--method", "direct", "--lora", sources("cat.safetensors"), "--lora", sources("ink.safetensors"), "--output",
      merged)
    let metadata = try AdapterFile(path: merged).metadata
    #expect(metadata["modelspec.merged_from"] == "cat, ink" && metadata["modelspec.trigger_phrase"] == "a cat, a ink")
    try Binary.succeed("convert", merged, "--base", base, "--to", dialect, "--output", converted)
    let exceptions = try MergeShares(metadata: AdapterFile(path: converted).metadata).exceptions
    let prefix = dialect == "peft" ? "base_model.model." : "unet."
    #expect(exceptions == [prefix + paths[1].dropFirst(5): [3, 1]])
    let adapters = try [merged, converted].map { file in
      let output = try TemporaryFolder()
      // The configuration beside PEFT's file has its name from PEFT, so each result has a folder of its own.
      try Binary.succeed("reweight", file, "--style-weight", "0.25", "--output", output("adapter_model.safetensors"))
      return try AdapterFile(path: output("adapter_model.safetensors")).adapter(for: names)
    }
    #expect(difference(adapters[1], adapters[0]) < 1e-6)
    let change = try difference(adapters[0], AdapterFile(path: merged).adapter(for: names))
    #expect(change > 0.1 && change.isFinite)
  }

  private func expectFailure(_ arguments: [String], _ message: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let run = try Binary.run(arguments + ["--output", folder("a.safetensors")])
    #expect(run.status == 1 && run.output == "", sourceLocation: sourceLocation)
    let errors = run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(errors.contains(message), "\(errors)", sourceLocation: sourceLocation)
    #expect(try folder.names == [], sourceLocation: sourceLocation)
  }

  @Test func filesThatDoNotGoTogether() throws {
    let direct = ["merge", "--method", "direct", "--lora", golden, "--lora"]
    try expectFailure(direct + [folder("cat.safetensors")], "cat.safetensors")
    try expectFailure(
      direct + [golden, "--dialect", "diffusers"],
      "kohya.safetensors is in the dialect kohya, and only a base model tells what its layers are called in another")
    let other = try tinyLoRA("unet.mid_block.attentions.0.proj_in", out: 8, in: 8)
    let wider = try tinyLoRA("unet.mid_block.attentions.0.proj_in", out: 16, in: 8)
    let stranger = try tinyLoRA("unet.mid_block.attentions.0.proj_out", out: 8, in: 8)
    try expectFailure(
      ["merge", "--method", "svd", "--lora", other, "--lora", wider],
      "the LoRAs are for different base models: 8x8 changes a weight [8, 8], 16x8 changes a weight [16, 8]")
    try expectFailure(
      ["merge", "--method", "ties", "--lora", other, "--lora", stranger],
      "have no name of a layer in common in unet, such as unet.mid_block.attentions.0.proj_in and")
    // One text encoder's names in common, and of the U-Net's layers those of the original and of diffusers.
    let spelt = try ["lora_unet_middle_block_1_proj_in", "lora_unet_mid_block_attentions_0_proj_in"].map { stem in
      let file = sources("\(stem).safetensors")
      let tensors = [stem, "lora_te1_text_model_encoder_layers_0_mlp_fc1"].reduce(into: OrderedDictionary<String, Tensor>()) {
        $0["\($1).lora_down.weight"] = .ones([1, 8])
        $0["\($1).lora_up.weight"] = .ones([8, 1])
      }
      try saveSafeTensors(tensors, to: file)
      return file
    }
    try expectFailure(
      ["merge", "--method", "direct", "--lora", spelt[0], "--lora", spelt[1]],
      "have no name of a layer in common in lora_unet, such as lora_unet_middle_block_1_proj_in and lora_unet_mid_block_attentions_0"
    )
    try expectFailure(
      ["merge", "--method", "b-lora", "--lora", other, "--lora", other],
      "the method b-lora leaves nothing of these LoRAs")
  }

  @Test("layers of any LoRA are weighed by the parts of their paths, the last one given counting")
  func layerWeights() throws {
    let parts = ["unet=0.5", "unet.mid_block=2", "attn1.to_q=0", "down_blocks.1.attentions.0=-1"]
    let output = try Binary.succeed(
      "reweight", golden, "--base", base, "--output", folder("a.safetensors"), "--layer-weight", parts[0], "--layer-weight",
      parts[1], "--layer-weight", parts[2], "--layer-weight", parts[3])
    let names = try Checkpoint(path: base).moduleNames
    let (old, new) = try (
      AdapterFile(path: golden).adapter(for: names), AdapterFile(path: folder("a.safetensors")).adapter(for: names)
    )
    func weight(_ path: String) -> Double {
      if path.contains("down_blocks.1.attentions.0.") { return -1 }
      if path.contains(".attn1.to_q") { return 0 }
      if path.contains("mid_block.") { return 2 }
      return path.hasPrefix("unet.") ? 0.5 : 1
    }
    let kinds = Set(old.factors.keys.map(weight))
    #expect(kinds.isSuperset(of: [-1, 0, 2, 0.5]), "\(kinds)")
    #expect(Array(new.factors.keys) == old.factors.keys.filter { weight($0) != 0 })
    for (path, factors) in new.factors {
      #expect(try difference(factors.delta(), old.factors[path]!.scaled(by: weight(path)).delta()) < 1e-6, "\(path)")
    }
    #expect(output.contains("unet.mid_block") && output.hasSuffix("\(folder("a.safetensors"))\n"), "\(output)")
    let record = try JSONDecoder().decode(RunRecord<ReweightAdapter>.self, from: bytes(folder("a.safetensors.json")))
    #expect(record.settings.layers.last == LayerWeight("down_blocks.1.attentions.0", weight: -1))
  }

  @Test("without a base, blocks have the names that inspect shows")
  func blocksOfAnUnknownBase() throws {
    let blocks = try Inspection(AdapterFile(path: golden)).blocks
    let block = try #require(blocks.first { $0.name.contains("middle") || $0.name.contains("mid_block") })
    let output = try Binary.succeed(
      "reweight", golden, "--output", folder("a.safetensors"), "--layer-weight", "\(block.name)=0.5")
    #expect(output.contains("\(block.name)") && output.contains("  \(block.layers)  "), "\(output)")
    let (old, new) = (try adapter(golden), try adapter(folder("a.safetensors")))
    for (name, factors) in new.factors {
      let weight = name.hasPrefix(block.name) ? 0.5 : 1
      #expect(try difference(factors.delta(), old.factors[name]!.scaled(by: weight).delta()) < 1e-6, "\(name)")
    }
  }

  @Test("a zip without some of its layers can still be weighed anew")
  func layersOfAZip() throws {
    let loras = try TrainedLoRAs.shared.get()
    let zip = try Binary.run(loras.zip(steps: 1, output: folder("zip.safetensors")))
    try #require(zip.status == 0, "\(zip.errors)")
    func reweight(_ from: String, _ to: String, _ options: String...) throws -> Adapter {
      let run = try Binary.run(["reweight", folder(from), "--base", base, "--output", folder(to)] + options)
      try #require(run.status == 0, "\(run.errors)")
      return try AdapterFile(path: folder(to)).adapter(for: Checkpoint(path: base).moduleNames)
    }
    let layers = ["--layer-weight", "attn2=0.5", "--layer-weight", "mid_block=0"]
    let both = try reweight(
      "zip.safetensors", "both.safetensors", "--style-weight", "0.25", layers[0], layers[1], layers[2], layers[3])
    _ = try reweight("zip.safetensors", "thin.safetensors", layers[0], layers[1], layers[2], layers[3])
    let inTurn = try reweight("thin.safetensors", "turn.safetensors", "--style-weight", "0.25")
    #expect(!both.factors.isEmpty && both.factors.keys.allSatisfy { !$0.contains("mid_block") })
    #expect(both.factors.keys == inTurn.factors.keys)
    #expect(difference(both, inTurn) < 1e-6)
  }

  @Test func filesThatCannotBeWeighedAnew() throws {
    try expectFailure(
      ["reweight", golden, "--layer-weight", "lora_unet_nothing=1"],
      "--layer-weight lora_unet_nothing: no layer of \(golden) lies under it; expected parts of names such as")
    try expectFailure(["reweight", golden, "--base", base, "--layer-weight", "unet=0"], "it keeps layers whose weight is not 0")
    try expectFailure(
      ["reweight", golden, "--subject-weight", "1"], "kohya.safetensors: its metadata (ziplora.shares) does not say")
    try expectFailure(["reweight", folder("cat.safetensors"), "--subject-weight", "1"], "cat.safetensors")
  }

  /// A LoRA of one layer with a weight [out, in], called `<out>x<in>`.
  private func tinyLoRA(_ module: String, out: Int, in inputs: Int) throws -> String {
    let path = sources("\(module.hasSuffix("in") ? "" : "other-")\(out)x\(inputs).safetensors")
    try saveSafeTensors(
      ["\(module).lora_A.weight": .ones([2, inputs]), "\(module).lora_B.weight": .ones([out, 2])], to: path, overwrite: true)
    return path
  }
}
