import Foundation
import LoRA
import OrderedCollections
import SafeTensors
import TestFiles
import Testing
import Torch

/// Files that are wrong in every way that a dialect or a form can be: each gives its own message, none crashes.
@Suite struct MalformedFileTests {
  typealias Tensors = OrderedDictionary<String, Tensor>

  static let path = "unet.mid_block.attentions.0.proj_in"
  /// Not square, so that factors the wrong way round do not follow each other.
  static let base = ModuleNames([path: [6, 4], "unet.mid_block.attentions.0.proj_out": [4, 4]])
  static let kohya = "lora_unet_mid_block_attentions_0_proj_in"
  static let square = "lora_unet_mid_block_attentions_0_proj_out"

  /// A file to be made and what is said of it.
  struct Case: CustomTestStringConvertible, Sendable {
    let name: String
    let message: String
    let metadata: OrderedDictionary<String, String>
    let configuration: String?
    let tensors: @Sendable () -> Tensors

    var testDescription: String { name }

    init(
      _ name: String, _ message: String, metadata: OrderedDictionary<String, String> = [:], configuration: String? = nil,
      _ tensors: @escaping @Sendable () -> Tensors
    ) {
      self.name = name
      self.message = message
      self.metadata = metadata
      self.configuration = configuration
      self.tensors = tensors
    }
  }

  /// The keys of one layer's halves in a dialect.
  struct Halves: Sendable {
    let dialect: String
    let stem: String
    let down: String
    let up: String

    init(_ dialect: String) {
      self.dialect = dialect
      let spelling = Dialects.named(dialect)!
      stem = spelling.spellings(in: MalformedFileTests.base)[MalformedFileTests.path]![0]
      (down, up) = (spelling.key(stem, .down), spelling.key(stem, .up))
    }

    func tensors(_ down: Tensor?, _ up: Tensor?) -> Tensors {
      var tensors: Tensors = [:]
      if let down { tensors[self.down] = down }
      if let up { tensors[self.up] = up }
      return tensors
    }
  }

  static let dialects = ["kohya", "lycoris", "diffusers", "diffusers-old", "peft", "comfyui", "omi"]

  /// What can be wrong in any dialect.
  static func common(_ dialect: String) -> [Case] {
    let halves = Halves(dialect)
    let (stem, down, up) = (halves.stem, halves.down, halves.up)
    let expected = "expected [rank, in] and [out, rank] with one rank of at least 1"
    func spoilt(
      _ what: String, _ message: String, _ down: @escaping @Sendable () -> Tensor?, _ up: @escaping @Sendable () -> Tensor?
    ) -> Case {
      Case("\(dialect): \(what)", message) { halves.tensors(down(), up()) }
    }
    return [
      spoilt("no up", "\(stem) lacks \(up)", { .ones([2, 4]) }, { nil }),
      spoilt("no down", "\(stem) lacks \(down)", { nil }, { .ones([6, 2]) }),
      spoilt("two ranks", "\(stem) has down [2, 4] and up [6, 3], \(expected)", { .ones([2, 4]) }, { .ones([6, 3]) }),
      spoilt("rank 0", "\(stem) has down [0, 4] and up [6, 0], \(expected)", { .ones([0, 4]) }, { .ones([6, 0]) }),
      spoilt("vectors", "\(stem) has down [4] and up [6], \(expected)", { .ones([4]) }, { .ones([6]) }),
      spoilt("transposed", "\(expected); are they transposed?", { .ones([4, 2]) }, { .ones([2, 6]) }),
      spoilt("NaN", "\(up) holds infinite numbers or NaN", { .ones([2, 4]) }, { .full([6, 2], .nan) }),
      spoilt("infinite", "\(down) holds infinite numbers or NaN", { .full([2, 4], .infinity) }, { .ones([6, 2]) }),
      spoilt(
        "integers", "\(down) holds int64, expected floating-point numbers", { .ones([2, 4], dtype: .int64) }, { .ones([6, 2]) }),
      spoilt(
        "another base", "\(path): the file is for a weight [6, 5], the model's is [6, 4]", { .ones([2, 5]) }, { .ones([6, 2]) }),
      Case("\(dialect): unknown key", "unknown key \(stem).riddle") {
        halves.tensors(.ones([2, 4]), .ones([6, 2])).merging(["\(stem).riddle": .ones([1])]) { $1 }
      },
      Case("\(dialect): unknown layer", "no layer of the base model is called \(stem)_9") {
        var tensors = halves.tensors(.ones([2, 4]), .ones([6, 2]))
        for (key, value) in tensors { tensors[key.replacing(stem, with: "\(stem)_9")] = value }
        return tensors
      },
    ]
  }

  /// One layer in kohya's spelling.
  static func layer(_ parts: Tensors, stem: String = kohya) -> Tensors {
    Tensors(uniqueKeysWithValues: parts.map { ("\(stem).\($0.key)", $0.value) })
  }

  static func sound() -> Tensors { layer(["lora_down.weight": .ones([2, 4]), "lora_up.weight": .ones([6, 2])]) }

  static let forms: [Case] = [
    Case("alpha 0", "\(kohya).alpha is 0, which some tools read as no effect and others as the rank") {
      sound().merging(layer(["alpha": Tensor(0)])) { $1 }
    },
    Case("alpha alone", "\(kohya) lacks \(kohya).lora_down.weight and \(kohya).lora_up.weight") {
      layer(["alpha": Tensor(1)])
    },
    Case("two alphas", "\(kohya).alpha has the shape [2], expected a single number") {
      sound().merging(layer(["alpha": .ones([2])])) { $1 }
    },
    Case(
      "a square layer the other way round", "the factors give a weight [2, 2], but transposed they would fit the model's [4, 4]"
    ) {
      layer(["lora_down.weight": .ones([4, 2]), "lora_up.weight": .ones([2, 4])], stem: square)
    },
    Case("no inputs", "has lora_down.weight [2, 0], lora_up.weight [6, 2]; expected sizes of at least 1") {
      layer(["lora_down.weight": .ones([2, 0]), "lora_up.weight": .ones([6, 2])])
    },
    Case("a number that no training gives", "\(kohya).lora_up.weight holds 100000.0, expected numbers up to 65504.0; the file is")
    {
      layer(["lora_down.weight": .ones([2, 4]), "lora_up.weight": .full([6, 2], 100_000)])
    },
    Case("an alpha beyond all measure", ".alpha holds 4294967296000000.0, expected numbers up to 1000000000000.0") {
      sound().merging(layer(["alpha": Tensor(0x1p32 * 1e6)])) { $1 }
    },
    Case("a small kernel of a huge weight", "\(kohya) is for a weight [6, 9000, 100, 100], expected at most 268435456 numbers") {
      layer([
        "lora_down.weight": .ones([1, 9000, 1, 1]), "lora_mid.weight": .ones([1, 1, 100, 100]),
        "lora_up.weight": .ones([6, 1, 1, 1]),
      ])
    },
    Case("LoHa of a huge weight", "\(kohya) is for a weight [20000, 20000], expected at most") {
      layer([
        "hada_w1_a": .ones([20000, 1]), "hada_w1_b": .ones([1, 20000]), "hada_w2_a": .ones([20000, 1]),
        "hada_w2_b": .ones([1, 20000]),
      ])
    },
    Case("LoHa with a kernel of a huge weight", "\(kohya) is for a weight [6, 9000, 100, 100], expected at most") {
      layer([
        "hada_w1_a": .ones([1, 6]), "hada_w1_b": .ones([1, 9000]), "hada_w2_a": .ones([1, 6]), "hada_w2_b": .ones([1, 9000]),
        "hada_t1": .ones([1, 1, 100, 100]), "hada_t2": .ones([1, 1, 100, 100]),
      ])
    },
    Case("LoKr of a huge weight", "\(kohya) is for a weight [20000, 20000], expected at most") {
      layer(["lokr_w1": .ones([20000, 1]), "lokr_w2": .ones([1, 20000])])
    },
    Case("LoKr with an empty half", "expected lokr_w2_a and lokr_w2_b as matrices with sizes of at least 1") {
      layer(["lokr_w1": .ones([2, 2]), "lokr_w2_a": .ones([0, 1]), "lokr_w2_b": .ones([1, 2])])
    },
    Case("mid between matrices", "expected up [out, rank, 1, 1], mid [rank, rank, k, k] and down [rank, in, 1, 1]") {
      sound().merging(layer(["lora_mid.weight": .ones([2, 2, 3, 3])])) { $1 }
    },
    Case("mid without halves", "lacks \(kohya).lora_down.weight and \(kohya).lora_up.weight") {
      layer(["lora_mid.weight": .ones([2, 2, 3, 3])])
    },
    Case("LoHa without its last quarter", "\(kohya) lacks \(kohya).hada_w2_b") {
      layer(["hada_w1_a": .ones([6, 2]), "hada_w1_b": .ones([2, 4]), "hada_w2_a": .ones([6, 2])])
    },
    Case("LoHa of two shapes", "expected two products of the same shape") {
      layer(["hada_w1_a": .ones([6, 2]), "hada_w1_b": .ones([2, 4]), "hada_w2_a": .ones([6, 2]), "hada_w2_b": .ones([2, 5])])
    },
    Case("LoHa of two ranks", "expected w_a [out, rank] and w_b [rank, in] with one rank") {
      layer(["hada_w1_a": .ones([6, 3]), "hada_w1_b": .ones([2, 4]), "hada_w2_a": .ones([6, 2]), "hada_w2_b": .ones([2, 4])])
    },
    Case("LoHa of numbers", "expected four matrices") {
      layer(["hada_w1_a": Tensor(1), "hada_w1_b": .ones([2, 4]), "hada_w2_a": .ones([6, 2]), "hada_w2_b": .ones([2, 4])])
    },
    Case("LoHa with one kernel", "expected hada_t1 and hada_t2, both or neither") {
      layer([
        "hada_w1_a": .ones([2, 6]), "hada_w1_b": .ones([2, 4]), "hada_w2_a": .ones([2, 6]), "hada_w2_b": .ones([2, 4]),
        "hada_t1": .ones([2, 2, 3, 3]),
      ])
    },
    Case("LoKr with one side", "\(kohya) lacks \(kohya).lokr_w2_a and \(kohya).lokr_w2_b") { layer(["lokr_w1": .ones([2, 2])]) },
    Case("LoKr with half a side", "\(kohya) lacks \(kohya).lokr_w2_b") {
      layer(["lokr_w1": .ones([2, 2]), "lokr_w2_a": .ones([3, 1])])
    },
    Case("LoKr with a side twice", "expected lokr_w2 as a matrix or a convolution's weight, or lokr_w2_a and lokr_w2_b") {
      layer(["lokr_w1": .ones([2, 2]), "lokr_w2": .ones([3, 2]), "lokr_w2_a": .ones([3, 1]), "lokr_w2_b": .ones([1, 2])])
    },
    Case("LoKr with a kernel as the first side", "expected a matrix as the first side") {
      layer(["lokr_w1": .ones([2, 2, 3, 3]), "lokr_w2": .ones([3, 2])])
    },
    Case("LoKr of another size", "the file is for a weight [6, 6], the model's is [6, 4]") {
      layer(["lokr_w1": .ones([2, 3]), "lokr_w2": .ones([3, 2])])
    },
    Case("a difference of three axes", "has diff [6, 4, 3]; expected [out, in] or [out, in, k, k]") {
      layer(["diff": .ones([6, 4, 3])])
    },
    Case("LoRA and LoHa at once", "\(kohya) is LoRA and LoHa at once") {
      sound().merging(layer(["hada_w1_a": .ones([6, 2])])) { $1 }
    },
    Case("GLoRA", "\(kohya) is GLoRA, which is not read; have the tool that made it extract a LoRA") {
      layer(["a1.weight": .ones([2, 4]), "a2.weight": .ones([6, 2])])
    },
    Case("OFT", "is OFT or BOFT, which is not read") { layer(["oft_blocks": .ones([2, 3, 3])]) },
    Case("(IA)³", "is (IA)³, which is not read") { layer(["on_input": Tensor(1)]) },
    Case("a replaced weight", "is a replaced weight, which is not read") { layer(["set_weight": .ones([6, 4])]) },
    Case("DoRA of another size", "has dora_scale [5, 1]; expected 6 numbers, one an output, or 4, one an input") {
      sound().merging(layer(["dora_scale": .ones([5, 1])])) { $1 }
    },
    Case("peft's DoRA an input", "has lora_magnitude_vector [4]; expected 6 numbers, one an output") {
      sound().merging(layer(["lora_magnitude_vector": .ones([4])])) { $1 }
    },
    Case("DoRA without a direction", "lacks \(kohya).lora_down.weight and \(kohya).lora_up.weight") {
      layer(["dora_scale": .ones([6, 1])])
    },
    Case("a bias alone", "1 tensors change biases or norms, which no LoRA can hold") { layer(["diff_b": .ones([6])]) },
  ]

  static let files: [Case] = [
    Case("no tensors", "there is no LoRA layer in it") { [:] },
    Case("a stranger", "not a LoRA file of a known dialect: none of its 1 keys is, such as\n  weight") { ["weight": .ones([1])] },
    Case("a whole checkpoint", "not a LoRA file of a known dialect") {
      [
        "model.diffusion_model.input_blocks.0.0.weight": .ones([4, 4, 3, 3]),
        "first_stage_model.decoder.conv_in.weight": .ones([4]),
      ]
    },
    Case("kohya and diffusers", "the 4 keys are of more than one dialect, so their meaning is not certain:\n  kohya: 2 keys") {
      sound().merging(Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2]))) { $1 }
    },
    Case("new and old diffusers", "\(path) is changed twice, as \(path).lora.down.weight and \(path).lora_A.weight") {
      Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2]))
        .merging(Halves("diffusers-old").tensors(.ones([2, 4]), .ones([6, 2]))) { $1 }
    },
    Case("peft and ComfyUI", "comfyui: 2 keys such as diffusion_model.middle_block.1.proj_in.lora_down.weight") {
      Halves("peft").tensors(.ones([2, 4]), .ones([6, 2]))
        .merging(Halves("comfyui").tensors(.ones([2, 4]), .ones([6, 2]))) { $1 }
    },
    Case("one layer under two names", "\(path) is changed twice, as ") {
      sound().merging(
        layer(["lora_down.weight": .ones([2, 4]), "lora_up.weight": .ones([6, 2])], stem: "lora_unet_middle_block_1_proj_in")
      ) { $1 }
    },
    Case("one half under two names", "is changed twice, as") {
      let keys = ["\(path).lora_A.weight", "\(path).lora_A.default.weight", "\(path).lora_B.weight"]
      return [keys[0]: .ones([2, 4]), keys[1]: .ones([2, 4]), keys[2]: .ones([6, 2])]
    },
    Case("a name with control characters", "unknown key lora_unet_\\u{1b}[31mred\\u{7}.riddle") {
      sound().merging(["lora_unet_\u{1b}[31mred\u{7}.riddle": .ones([1])]) { $1 }
    },
    Case("another kind of model", "not made for this base model (1 of 1 layers do not fit)") {
      layer(
        ["lora_down.weight": .ones([2, 4]), "lora_up.weight": .ones([4, 2])], stem: "lora_unet_double_blocks_0_img_attn_qkv")
    },
    Case(
      "metadata that is no JSON", "the metadata lora_adapter_metadata is not a JSON object",
      metadata: ["lora_adapter_metadata": "{'unet.r': 4}"]
    ) { Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2])) },
    Case(
      "a list as metadata", "the metadata lora_adapter_metadata is not a JSON object", metadata: ["lora_adapter_metadata": "[1]"]
    ) { Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2])) },
    Case(
      "alpha in words", "has a unet.lora_alpha that is no number",
      metadata: ["lora_adapter_metadata": #"{"unet.lora_alpha": "8"}"#]
    ) { Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2])) },
    Case(
      "DoRA without magnitudes", "\(path) lacks the magnitudes of DoRA, which the metadata asks for (use_dora)",
      metadata: ["lora_adapter_metadata": #"{"unet.use_dora": true}"#]
    ) { Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2])) },
    Case(
      "alpha twice", "\(path) has alpha 3.0 as a tensor and 5.0 in the metadata",
      metadata: ["lora_adapter_metadata": #"{"unet.lora_alpha": 5}"#]
    ) { Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2])).merging(["\(path).alpha": Tensor(3)]) { $1 } },
    Case("a configuration that is no JSON", "the metadata adapter_config.json is not a JSON object", configuration: "r: 4") {
      Halves("peft").tensors(.ones([2, 4]), .ones([6, 2]))
    },
    Case(
      "PiSSA", "the metadata adapter_config.json has init_lora_weights \"pissa_niter_16\", which changed the base's weights",
      configuration: #"{"init_lora_weights": "pissa_niter_16"}"#
    ) { Halves("peft").tensors(.ones([2, 4]), .ones([6, 2])) },
    Case(
      "OLoRA", "the metadata lora_adapter_metadata has unet.init_lora_weights \"olora\", which changed",
      metadata: ["lora_adapter_metadata": #"{"unet.init_lora_weights": "olora"}"#]
    ) { Halves("diffusers").tensors(.ones([2, 4]), .ones([6, 2])) },
    Case(
      "a pattern that is no expression", "has an entry of alpha_pattern that is no regular expression: to_(q",
      configuration: #"{"alpha_pattern": {"to_(q": 1}}"#
    ) { Halves("peft").tensors(.ones([2, 4]), .ones([6, 2])) },
  ]

  static let cases = dialects.flatMap(common) + forms + files

  @Test func thereAreManyOfThem() {
    #expect(Self.cases.count >= 60)
    #expect(Set(Self.cases.map(\.name)).count == Self.cases.count)
  }

  @Test(arguments: cases)
  func message(_ malformed: Case) throws {
    let folder = try TemporaryFolder()
    let path = folder("bad.safetensors")
    try saveSafeTensors(malformed.tensors(), metadata: malformed.metadata, to: path)
    try malformed.configuration?.write(toFile: folder("adapter_config.json"), atomically: true, encoding: .utf8)
    let error = try #require(throws: AdapterFileError.self) { try AdapterFile.read(path, for: Self.base) }
    let text = error.description
    #expect(text.hasPrefix("\(path): ") && text.contains(malformed.message), "\(text)")
    #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 32 }, "nothing that a terminal would obey")
  }

  @Test("nothing wrong with the sound ones", arguments: dialects)
  func sound(dialect: String) throws {
    let folder = try TemporaryFolder()
    try saveSafeTensors(Halves(dialect).tensors(.ones([2, 4]), .ones([6, 2])), to: folder("good.safetensors"))
    #expect(try AdapterFile.read(folder("good.safetensors"), for: Self.base).factors.count == 1)
  }

  @Test(
    "a shape that the format allows and no tensor can have",
    arguments: [[0, 6, 1 << 31, 1 << 31], Array(repeating: 1, count: 65)])
  func impossibleShape(shape: [Int]) throws {
    let folder = try TemporaryFolder()
    let (path, key) = (folder("bad.safetensors"), "\(Self.kohya).diff")
    let bytes = Array(repeating: UInt8(0), count: shape[0] * 4)
    try SafeTensorsFile.write([SafeTensorsSource(name: key, dtype: .F32, shape: shape, bytes: bytes)], to: path)
    let error = try #require(throws: TensorFileError.self) { try AdapterFile(path: path) }
    #expect(error.description.hasPrefix("\(path): \(key) has the shape \(shape); supported: up to 64 axes"))
  }

  @Test func foldersAndCompanions() throws {
    let folder = try TemporaryFolder()
    let empty = try #require(throws: AdapterFileError.self) { try AdapterFile(path: folder.path) }
    #expect(empty.description.contains("a folder with none of the files\n  adapter_model.safetensors"))
    try saveSafeTensors(
      Halves("peft").tensors(.ones([2, 4]), .ones([6, 2])), to: folder("adapter_model.safetensors"))
    try Data([0xFF, 0xFE]).write(to: URL(filePath: folder("adapter_config.json")))
    let unreadable = try #require(throws: AdapterFileError.self) { try AdapterFile(path: folder.path) }
    #expect(unreadable.description.contains("adapter_config.json beside it cannot be read as UTF-8 text"))
  }
}
