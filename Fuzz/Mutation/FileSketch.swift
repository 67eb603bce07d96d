import Foundation
import LoRA
import OrderedCollections
import SafeTensors

/// A sound safetensors file in memory, easy to change and always sound again when written.
struct FileSketch {
  struct Item {
    var dtype: SafeTensorsDType
    var shape: [Int]
    /// Repeated, or cut, to the size of the tensor.
    var pattern: [UInt8]

    var byteCount: Int? {
      var bits = dtype.bitWidth
      for size in shape {
        let (product, overflow) = bits.multipliedReportingOverflow(by: size)
        if overflow { return nil }
        bits = product
      }
      return bits / 8
    }

    /// An array of tensors' usual numbers. A repeated byte is a sound number in every floating-point type.
    init(_ shape: [Int], _ dtype: SafeTensorsDType = .F16, byte: UInt8 = 0x3C) {
      (self.dtype, self.shape, pattern) = (dtype, shape, [byte])
    }
  }

  var metadata: OrderedDictionary<String, String> = [:]
  var items: OrderedDictionary<String, Item> = [:]

  init() {}

  init(contentsOf path: String) throws {
    let file = try SafeTensorsFile(path: path)
    metadata = file.metadata
    for (name, entry) in file.entries {
      var item = Item(entry.shape, entry.dtype)
      item.pattern = try file.withBytes(of: name) { Array($0) }
      items[name] = item
    }
  }

  /// The bytes of a file; nil where it would be larger than `limit`, and for what no file holds.
  func bytes(atMost limit: Int, scratch path: String) -> Data? {
    var sizes: [Int] = []
    for item in items.values {
      guard let size = item.byteCount, size <= limit else { return nil }
      sizes.append(size)
    }
    guard sizes.reduce(0, +) <= limit else { return nil }
    let sources = zip(items, sizes).map { item, size in
      let pattern = item.value.pattern.isEmpty ? [0] : item.value.pattern
      return SafeTensorsSource(
        name: item.key, dtype: item.value.dtype, shape: item.value.shape, bytes: (0..<size).map { pattern[$0 % pattern.count] })
    }
    guard (try? SafeTensorsFile.write(sources, metadata: metadata, to: path, overwrite: true)) != nil,
      let data = FileManager.default.contents(atPath: path), data.count <= limit
    else { return nil }
    return data
  }
}
