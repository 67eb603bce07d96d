import Foundation
import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch
import Workflows

/// `ziplora convert` and `ziplora resize`, and what they know of bases without having one.
@Suite struct RewritingTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// What sd-scripts adapts in each part of a model, as its own log counts it.
  static let counts: [(KnownBase, unet: Int, textEncoders: [Int])] = [
    (.stableDiffusionXL, 722, [72, 192]), (.stableDiffusion1, 192, [72]), (.stableDiffusion2, 192, [138]),
  ]

  @Test("known bases have the layers that kohya counts", arguments: counts)
  func layers(base: KnownBase, unet: Int, textEncoders: [Int]) throws {
    let names = try base.moduleNames
    let kinds = names.paths.map { (Component(of: $0), ModuleKind(of: $0)) }
    let transformer: [ModuleKind] = [.attention, .feedForward, .projection]
    #expect(kinds.filter { $0.0 == .unet && transformer.contains($0.1) }.count == unet)
    for (component, count) in zip([Component.textEncoder, .textEncoder2], textEncoders) {
      #expect(kinds.filter { $0.0 == component && $0.1 == .textEncoder }.count == count)
    }
    #expect(names.has(.textEncoder2) == (textEncoders.count == 2))
  }

  /// A LoRA of every `step`-th layer of a known base.
  private func adapter(_ base: ModuleNames, every step: Int, rank: Int = 2) -> Adapter {
    let generator = Generator(seed: 4)
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    for (path, shape) in base.shapes.elements.enumerated().filter({ $0.offset % step == 0 }).map(\.element) {
      factors[path] = LowRankFactors(
        down: .randn([rank] + shape.dropFirst(), generator: generator),
        up: .randn([shape[0], rank] + shape.dropFirst(2).map { _ in 1 }, generator: generator), alpha: 1)
    }
    return Adapter(factors: factors, metadata: ["modelspec.title": "the cat", "ss_seed": "7"])
  }

  @Test("to and fro without a base model gives the same change, and the title stays", arguments: KnownBase.allCases)
  func convertKnownBase(base: KnownBase) throws {
    let names = try base.moduleNames
    let original = adapter(names, every: 37)
    let (first, second, third) = (folder("a.safetensors"), folder("b.safetensors"), folder("c.safetensors"))
    try AdapterFile.write(original, to: first, as: Dialects.kohya, for: names)
    let text = try Binary.succeed("convert", first, "--to", "diffusers", "--output", second)
    #expect(text == "\(second)\n\(original.factors.count) layers of \(base), kohya to diffusers\n")
    try Binary.succeed("convert", second, "--output", third)
    let found = try AdapterFile(path: third)
    #expect(found.dialect.name == "kohya" && found.metadata["modelspec.title"] == "the cat" && found.metadata["ss_seed"] == "7")
    let converted = try found.adapter(for: names)
    #expect(converted.factors.keys == original.factors.keys)
    // Readers of diffusers' files that look for no alpha find it in the numbers.
    #expect(converted.factors.values.allSatisfy { $0.alpha == Double($0.rank) })
    let error = difference(converted, original)
    #expect(error < 1e-6, "\(error)")
    let record = try JSONDecoder().decode(RunRecord<ConvertAdapter>.self, from: bytes("\(second).json"))
    #expect(record.workflow == "convert" && record.settings.output.dialect == "diffusers" && record.inputs.count == 1)
  }

  @Test func convertToPEFTAndOtherTypes() throws {
    let names = try KnownBase.stableDiffusion1.moduleNames
    let unet = ModuleNames(names.shapes.filter { $0.key.hasPrefix("unet.") })
    try AdapterFile.write(adapter(unet, every: 41), to: folder("a.safetensors"), as: Dialects.kohya, for: names)
    let output = folder("adapter_model.safetensors")
    let text = try Binary.succeed(
      "convert", folder("a.safetensors"), "--to", "peft", "--dtype", "bfloat16", "--output", output)
    #expect(text.hasPrefix("\(output)\n\(folder("adapter_config.json"))\n"))
    let file = try AdapterFile(path: folder.path)
    #expect(file.dialect.name == "peft" && file.layers.values.allSatisfy { $0.dtype == .bfloat16 && $0.alpha == 1 })
  }

  @Test("a LoHa becomes a LoRA, exactly or with its loss told; biases only when asked")
  func convertOtherForms() throws {
    let stem = "lora_unet_mid_block_attentions_0_proj_in"
    let generator = Generator(seed: 1)
    func random(_ shape: Int...) -> Tensor { .randn(shape, generator: generator) }
    try saveSafeTensors(
      [
        "\(stem).hada_w1_a": random(1280, 2), "\(stem).hada_w1_b": random(2, 1280), "\(stem).hada_w2_a": random(1280, 2),
        "\(stem).hada_w2_b": random(2, 1280), "\(stem).alpha": Tensor(1), "\(stem).diff_b": random(1280),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.diff": random(320, 768) * 1e-3,
      ], to: folder("loha.safetensors"))
    let refused = try Binary.run(["convert", folder("loha.safetensors"), "--output", folder("a.safetensors")])
    #expect(refused.status == 1 && refused.errors.contains("1 tensors change biases or norms"), "\(refused.errors)")
    let text = try Binary.succeed(
      "convert", folder("loha.safetensors"), "--leave-out-vectors", "--rank-limit", "8", "--output", folder("a.safetensors"))
    for line in [
      "2 layers of Stable Diffusion 1.x, kohya to kohya", "1 layers (LoHa) now have rank 4 of 4; the same change, to rounding",
      "1 layers (whole difference) now have rank 8 of 320; the most is lost at unet.down_blocks.0.attentions.0",
      "1 changes of biases, norms and embeddings are left out",
    ] {
      #expect(text.contains(line), "\(text)")
    }
    let inspection = try Binary.succeed("inspect", folder("loha.safetensors"))
    #expect(inspection.contains("form      ") && inspection.contains("LoHa (1 layers)"), "\(inspection)")
    #expect(inspection.contains("unet.mid_block.attentions.0"), "names are those of the known base")
  }

  @Test("peft opens a file by one name alone, so that no other is written for it")
  func nameOfPEFT() throws {
    let names = try KnownBase.stableDiffusion1.moduleNames
    try AdapterFile.write(adapter(names, every: 400), to: folder("a.safetensors"), as: Dialects.kohya, for: names)
    let run = try Binary.run(["convert", folder("a.safetensors"), "--to", "peft", "--output", folder("b.safetensors")])
    #expect(run.status == 1, "\(run.errors)")
    #expect(run.errors.contains("b.safetensors: expected FOLDER/adapter_model.safetensors, the only name by which peft opens"))
    #expect(try folder.names == ["a.safetensors"])
  }

  @Test("layers that are no LoRA: a share is one of all that they are, and what merging takes from them is said")
  func lossesOfOtherForms() throws {
    let (path, stem) = (
      "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
      "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    )
    // Of full rank, so that rank 128 holds about two thirds of it.
    let whole = Tensor.randn([320, 768], generator: Generator(seed: 4)) * 1e-3
    try saveSafeTensors(["\(stem).diff": whole], to: folder("whole.safetensors"))
    let names = try KnownBase.stableDiffusion1.moduleNames
    func lost(_ file: String) throws -> Double {
      let found = try AdapterFile.read(file, for: names).factors[path]!.delta()
      return ((found - whole).square().sum() / whole.square().sum()).item()
    }
    let text = try Binary.succeed("resize", folder("whole.safetensors"), "--energy", "0.9", "--output", folder("a.safetensors"))
    let share = try lost(folder("a.safetensors"))
    #expect(0.08 < share && share <= 0.1, "\(share)")
    #expect(text.contains("1 layers (whole difference) now have rank") && text.split(separator: "\n").count == 3, "\(text)")

    let other = LowRankFactors(
      down: .randn([2, 768], generator: Generator(seed: 5)), up: .randn([320, 2], generator: Generator(seed: 6)), alpha: 1)
    try AdapterFile.write(Adapter(factors: [path: other]), to: folder("lora.safetensors"), as: Dialects.kohya, for: names)
    let merged = try Binary.run([
      "merge", "--method", "direct", "--lora", folder("whole.safetensors"), "--lora", folder("lora.safetensors"), "--output",
      folder("b.safetensors"),
    ])
    try #require(merged.status == 0, "\(merged.errors)")
    let percent = String(format: "%.1f", try 100 * Self.energyLost(whole, at: 128))
    let warning =
      "whole.safetensors: 1 layers are no LoRA (whole difference) and are taken as LoRAs of rank 128, which lose "
      + "\(percent) % of the squared norm at \(path), the most; ziplora convert --rank-limit 256 makes a file that loses less"
    #expect(merged.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ").contains(warning), "\(merged.errors)")
  }

  private static func energyLost(_ matrix: Tensor, at rank: Int) throws -> Double {
    let energies = matrix.svd().s.square().doubles()
    return energies[rank...].reduce(0, +) / energies.reduce(0, +)
  }

  @Test func resize() throws {
    let golden = "\(goldens)/adapters/attention/kohya.safetensors"
    let text = try Binary.succeed(
      "resize", golden, "--base", base, "--rank", "2", "--output", folder("a.safetensors"))
    #expect(text.contains("136 layers (LoRA) now have rank 2 of 4; the most is lost at unet."), "\(text)")
    #expect(try AdapterFile(path: folder("a.safetensors")).layers.values.allSatisfy { $0.rank == 2 })
    // All of the energy is the same LoRA.
    let whole = try Binary.succeed(
      "resize", golden, "--base", base, "--energy", "1", "--output", folder("b.safetensors"))
    #expect(whole == "\(folder("b.safetensors"))\n136 layers of \(base), kohya to kohya\n")
  }

  @Test("without a base, a LoRA of an unknown one says what is missing")
  func unknownBase() throws {
    let run = try Binary.run(
      ["convert", "\(goldens)/adapters/attention/kohya.safetensors", "--output", folder("a.safetensors")])
    #expect(run.status == 1 && run.errors.contains("made for none of the bases that are known"), "\(run.errors)")
    #expect(run.errors.contains("--base"))
    #expect(try folder.names.isEmpty)
  }
}
