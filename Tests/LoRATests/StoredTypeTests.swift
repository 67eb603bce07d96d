import Foundation
import LoRA
import OrderedCollections
import SafeTensors
import TestFiles
import TestSupport
import Testing
import Torch

/// Types of numbers in files: which are read, and what is written where no type is asked for.
@Suite struct StoredTypeTests {
  static let (path, other) = ("unet.mid_block.attentions.0.proj_in", "unet.mid_block.attentions.0.proj_out")
  static let stem = "lora_unet_mid_block_attentions_0_proj_in"
  let base = ModuleNames([path: [48, 40], other: [48, 40]])
  let folder: TemporaryFolder
  let generator = Generator(seed: 5)

  init() throws { folder = try TemporaryFolder() }

  private func random(_ shape: Int..., scale: Double = 1, dtype: DType = .float16) -> Tensor {
    (Tensor.randn(shape, generator: generator) * scale).to(dtype: dtype)
  }

  private func file(_ parts: OrderedDictionary<String, Tensor>) throws -> AdapterFile {
    let tensors = OrderedDictionary(uniqueKeysWithValues: parts.map { ("\(Self.stem).\($0.key)", $0.value) })
    try saveSafeTensors(tensors, to: folder("a.safetensors"), overwrite: true)
    return try AdapterFile(path: folder("a.safetensors"))
  }

  @Test("alpha may be an integer, as diffusers' conversion to kohya's names writes it", arguments: [DType.int64, .int32, .uint8])
  func integerAlpha(dtype: DType) throws {
    let halves: OrderedDictionary = ["lora_down.weight": random(4, 40), "lora_up.weight": random(48, 4)]
    let found = try file(halves.merging(["alpha": Tensor(3, dtype: dtype)]) { $1 })
    #expect(found.layers[Self.stem]?.alpha == 3)
    #expect(try found.adapter(for: base).factors[Self.path]?.scale == 0.75)
    let loha = try file([
      "hada_w1_a": random(48, 4), "hada_w1_b": random(4, 40), "hada_w2_a": random(48, 4), "hada_w2_b": random(4, 40),
      "alpha": Tensor(3, dtype: dtype),
    ])
    #expect(loha.layers[Self.stem]?.alpha == 3)
    let error = try #require(throws: AdapterFileError.self) {
      try file(halves.merging(["alpha": Tensor(1, dtype: .bool)]) { $1 })
    }
    #expect(error.description.contains("\(Self.stem).alpha holds bool, expected floating-point numbers"))
  }

  @Test("halves of very different size go to 16 bits as exactly as their product does", arguments: [nil, DType.float16])
  func unevenHalves(dtype: DType?) throws {
    let factors = LowRankFactors(
      down: random(4, 40, dtype: .float32), up: random(48, 4, scale: 1e-6, dtype: .float32), alpha: 4)
    let path = folder("b.safetensors")
    try AdapterFile.write(
      Adapter(factors: [Self.path: factors]), to: path, as: Dialects.kohya, for: base, dtype: dtype,
      dtypes: [Self.path: .float16])
    let found = try AdapterFile.read(path, for: base).factors[Self.path]!
    let error = difference(found.delta(dtype: .float64), factors.delta(dtype: .float64))
    print("relative error in float16: \(error)")
    #expect(found.down.dtype == .float16 && error <= 5e-4)
  }

  /// What a byte stands for; infinite or NaN at the end of the range, where E4M3 has one NaN and E5M2 a whole exponent.
  private func number(_ byte: Int, _ dtype: SafeTensorsDType) -> Double {
    let (mantissaBits, bias) = dtype == .F8_E4M3 ? (3, 7) : (2, 15)
    let bits = byte & 0x7F
    let (exponent, mantissa) = (bits >> mantissaBits, bits % (1 << mantissaBits))
    let fraction = Double(mantissa) / Double(1 << mantissaBits)
    var size = exponent == 0 ? fraction * exp2(Double(1 - bias)) : (1 + fraction) * exp2(Double(exponent - bias))
    if dtype == .F8_E4M3 ? bits == 0x7F : exponent == 31 { size = dtype == .F8_E5M2 && mantissa == 0 ? .infinity : .nan }
    return byte < 128 ? size : -size
  }

  @Test("eight bits of floating point are read as the float16 that they are", arguments: [SafeTensorsDType.F8_E4M3, .F8_E5M2])
  func eightBits(dtype: SafeTensorsDType) throws {
    let source = SafeTensorsSource(name: "a", dtype: dtype, shape: [16, 16], bytes: Array(UInt8(0)...255))
    try SafeTensorsFile.write([source], to: folder("f8.safetensors"))
    let found = try SafeTensorsCollection(path: folder("f8.safetensors")).tensor("a")
    #expect(found.dtype == .float16 && found.shape == [16, 16])
    for (byte, found) in found.doubles().enumerated() {
      let expected = number(byte, dtype)
      #expect(found == expected || found.isNaN && expected.isNaN, "byte \(byte): \(found), expected \(expected)")
    }
    let unread = SafeTensorsSource(name: "a", dtype: .F8_E8M0, shape: [1], bytes: [0])
    try SafeTensorsFile.write([unread], to: folder("e8m0.safetensors"))
    let error = try #require(throws: TensorFileError.self) {
      try SafeTensorsCollection(path: folder("e8m0.safetensors")).tensor("a")
    }
    #expect(error.description.contains("F8_E8M0; supported: ") && error.description.contains("F8_E5M2, F8_E4M3"), "\(error)")
  }

  @Test("another alpha costs 16-bit factors one rounding, though small numbers of float16 have few digits")
  func restating() throws {
    // kohya's files have one alpha, here that of the first layer.
    for (alpha, tolerance) in [(1 / 64.0, 2e-4), (64, 1e-6), (0.3, 1e-3), (-5, 1e-3)] {
      var adapter = Adapter(factors: [:])
      for (path, alpha) in [(Self.path, 4), (Self.other, alpha)] {
        adapter.factors[path] = LowRankFactors(down: random(8, 40, scale: 0.05), up: random(48, 8, scale: 5e-4), alpha: alpha)
      }
      try AdapterFile.write(adapter, to: folder("a.safetensors"), as: Dialects.kohya, for: base, overwrite: true)
      let found = try AdapterFile.read(folder("a.safetensors"), for: base)
      #expect(found.factors.values.allSatisfy { $0.alpha == 4 && $0.down.dtype == .float16 && $0.up.dtype == .float16 })
      let (same, restated) = (found.factors[Self.path]!, found.factors[Self.other]!)
      let before = adapter.factors[Self.path]!
      #expect(same.down.equals(before.down) && same.up.equals(before.up), "a ratio of one changes nothing")
      let error = difference(
        restated.delta(dtype: .float64), adapter.factors[Self.other]!.delta(dtype: .float64))
      #expect(error <= tolerance, "alpha \(alpha): \(error)")
    }
  }

  /// Forms that become factors, with numbers as small as those of trained files.
  static let forms = ["LoHa", "LoKr", "whole difference", "LoRA with a kernel"]

  @Test("what is computed goes back to the type that the file has", arguments: forms, [DType.float16, .bfloat16, .float32])
  func ownType(form: String, dtype: DType) throws {
    let isKernel = form == "LoRA with a kernel"
    let parts: OrderedDictionary<String, Tensor> =
      switch form {
      case "LoHa":
        [
          "hada_w1_a": random(48, 3, scale: 0.1), "hada_w1_b": random(3, 40), "hada_w2_a": random(48, 3, scale: 1e-4),
          "hada_w2_b": random(3, 40), "alpha": Tensor(1),
        ]
      case "LoKr": ["lokr_w1": random(4, 4), "lokr_w2": random(12, 10, scale: 1e-3)]
      case "whole difference": ["diff": random(48, 40, scale: 1e-3)]
      default:
        [
          "lora_down.weight": random(4, 40, 1, 1), "lora_mid.weight": random(4, 4, 3, 3, scale: 1e-2),
          "lora_up.weight": random(48, 4, 1, 1, scale: 1e-2), "alpha": Tensor(1),
        ]
      }
    let base = isKernel ? ModuleNames([Self.path: [48, 40, 3, 3]]) : base
    let reading = try file(parts.mapValues { $0.to(dtype: dtype) }).reading(for: base)
    #expect(reading.dtypes == [Self.path: dtype])
    let exact = try #require(reading.adapter.delta(Self.path, dtype: .float64))
    try AdapterFile.write(reading.adapter, to: folder("b.safetensors"), as: Dialects.kohya, for: base, dtypes: reading.dtypes)
    let found = try #require(try AdapterFile.read(folder("b.safetensors"), for: base).factors[Self.path])
    #expect(found.down.dtype == dtype && found.up.dtype == dtype)
    let error = difference(found.delta(dtype: .float64), exact)
    let precision = [DType.float16: 0x1p-11, .bfloat16: 0x1p-8, .float32: 0x1p-24][dtype]!
    #expect(error <= 4 * precision, "\(error)")
    // A type that is asked for goes before that of the file.
    try AdapterFile.write(
      reading.adapter, to: folder("c.safetensors"), as: Dialects.kohya, for: base, dtype: .float32, dtypes: reading.dtypes)
    #expect(try AdapterFile(path: folder("c.safetensors")).layers.values.allSatisfy { $0.dtype == .float32 })
  }
}
