import Foundation
import LoRA
import OrderedCollections
import ReaderTrial
import SafeTensors

/// Changes a safetensors file into another that a reader gets further with than with random bytes: by names, shapes, types,
/// numbers and metadata, over all dialects and forms that there are.
struct FileMutator {
  private let base: ModuleNames
  private let scratch: String
  private let dialects = Dialects.all
  private let parts: [AdapterKey.Part] =
    LayerForms.all.flatMap { $0.parts }
    + ["alpha", "dora_scale", "lora_magnitude_vector", "diff_b", "bias"].map(AdapterKey.Part.init)

  init(base: ModuleNames, scratch: String) {
    self.base = base
    self.scratch = scratch
  }

  /// Another file; nil where the change leads to none.
  func mutate(_ bytes: UnsafeRawBufferPointer, atMost limit: Int, using random: inout some RandomNumberGenerator) -> Data? {
    guard (try? Data(bytes).write(to: URL(filePath: scratch))) != nil else { return nil }
    var sketch = (try? FileSketch(contentsOf: scratch)) ?? FileSketch()
    if sketch.items.isEmpty { addLayer(to: &sketch, using: &random) }
    for _ in 0..<Int.random(in: 1...3, using: &random) { change(&sketch, using: &random) }
    return sketch.bytes(atMost: limit, scratch: scratch)
  }

  private func change(_ sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    switch Int.random(in: 0..<10, using: &random) {
    case 0: addLayer(to: &sketch, using: &random)
    case 1: respell(&sketch, using: &random)
    case 2: substituteSize(in: &sketch, using: &random)
    case 3: changeShape(in: &sketch, using: &random)
    case 4: changeType(in: &sketch, using: &random)
    case 5, 6: changeNumbers(in: &sketch, using: &random)
    case 7: changeNames(in: &sketch, using: &random)
    default: changeMetadata(of: &sketch, using: &random)
    }
  }
}

// MARK: Names

extension FileMutator {
  /// The dialect that understands most of a sketch, or any.
  private func dialect(of sketch: FileSketch, using random: inout some RandomNumberGenerator) -> any Dialect {
    let keys = sketch.items.keys
    return dialects.first { dialect in keys.contains(where: dialect.claims) } ?? dialects.randomElement(using: &random)!
  }

  private func stem(_ dialect: any Dialect, using random: inout some RandomNumberGenerator) -> (name: String, shape: [Int]) {
    let (path, stems) = dialect.spellings(in: base).elements.randomElement(using: &random)!
    return (stems.randomElement(using: &random) ?? path, base.shapes[path]!)
  }

  /// A layer that fits the base model, of any form.
  private func addLayer(to sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    let dialect = dialect(of: sketch, using: &random)
    let (stem, shape) = stem(dialect, using: &random)
    let shapes = LayerShapes(weight: shape, rank: Int.random(in: 1...3, using: &random))
    var tensors = shapes.all.randomElement(using: &random)!
    for (part, shape) in shapes.extras where Int.random(in: 0..<4, using: &random) == 0 { tensors[part] = shape }
    for (part, shape) in tensors {
      sketch.items[dialect.key(stem, AdapterKey.Part(part))] = .init(shape, byte: .random(in: 0x30...0x40, using: &random))
    }
  }

  /// The whole file in another dialect.
  private func respell(_ sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    let (old, new) = (dialect(of: sketch, using: &random), dialects.randomElement(using: &random)!)
    var stems: [String: String] = [:]
    for (path, spellings) in old.spellings(in: base) {
      for stem in spellings { stems[stem] = new.spellings(in: base)[path]?.randomElement(using: &random) }
    }
    var items: OrderedDictionary<String, FileSketch.Item> = [:]
    for (key, item) in sketch.items {
      let parsed = old.parse(key)
      items[parsed.map { new.key(stems[$0.stem] ?? $0.stem, $0.part) } ?? key] = item
    }
    sketch.items = items
  }

  /// A tensor goes, becomes another part, moves to another layer, or is there twice.
  private func changeNames(in sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    guard let (key, item) = sketch.items.elements.randomElement(using: &random) else { return }
    let dialect = dialect(of: sketch, using: &random)
    let parsed = dialect.parse(key) ?? AdapterKey(key, .alpha)
    let part = Bool.random(using: &random) ? parsed.part : parts.randomElement(using: &random)!
    let other = Bool.random(using: &random) ? parsed.stem : stem(dialect, using: &random).name
    if Bool.random(using: &random) { sketch.items[key] = nil }
    if Int.random(in: 0..<4, using: &random) > 0 { sketch.items[dialect.key(other, part)] = item }
  }
}

// MARK: Shapes and numbers

extension FileMutator {
  private static let sizes = [0, 1, 2, 3, 4, 6, 8, 9, 64, 1000, 1 << 20, 1 << 31, 1 << 40, 1 << 59]

  /// A size becomes another one wherever it occurs, so that tensors still follow each other.
  private func substituteSize(in sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    guard let old = sketch.items.values.flatMap(\.shape).randomElement(using: &random) else { return }
    let new = Self.sizes.randomElement(using: &random)!
    for index in sketch.items.values.indices {
      sketch.items.values[index].shape = sketch.items.values[index].shape.map { $0 == old ? new : $0 }
    }
  }

  private func changeShape(in sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    guard let index = sketch.items.values.indices.randomElement(using: &random) else { return }
    var shape = sketch.items.values[index].shape
    switch Int.random(in: 0..<6, using: &random) {
    case 0: shape.reverse()
    case 1: shape += [1, 1]
    case 2: shape = shape.dropLast()
    case 3: shape.insert(Self.sizes.randomElement(using: &random)!, at: Int.random(in: 0...shape.count, using: &random))
    case 4:
      shape = [shape.first ?? 1, shape.dropFirst().reduce(1) { $0.multipliedReportingOverflow(by: $1).partialValue & .max }]
    default:
      guard let axis = shape.indices.randomElement(using: &random) else { return }
      shape[axis] = Self.sizes.randomElement(using: &random)!
    }
    sketch.items.values[index].shape = shape
  }

  /// Of one tensor, or of all.
  private func changeType(in sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    let usual: [SafeTensorsDType] = [.F16, .BF16, .F32, .F64]
    let dtype = (Int.random(in: 0..<4, using: &random) > 0 ? usual : SafeTensorsDType.allCases).randomElement(using: &random)!
    let one = sketch.items.values.indices.randomElement(using: &random)
    let all = Int.random(in: 0..<3, using: &random) == 0
    for index in sketch.items.values.indices where all || index == one { sketch.items.values[index].dtype = dtype }
  }

  private func changeNumbers(in sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    guard let index = sketch.items.values.indices.randomElement(using: &random) else { return }
    var pattern = sketch.items.values[index].pattern
    // Small, usual, nearly the largest, not finite.
    let bytes: [UInt8] = [0, 1, 0x30, 0x3C, 0x40, 0x77, 0x7B, 0x7E, 0x7F, 0xBC, 0xFF, .random(in: 0...0xFF, using: &random)]
    let byte = bytes.randomElement(using: &random)!
    if pattern.isEmpty || Bool.random(using: &random) {
      pattern = [byte]
    } else {
      pattern[Int.random(in: pattern.indices, using: &random)] = byte
    }
    sketch.items.values[index].pattern = pattern
  }
}
