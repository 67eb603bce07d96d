import OrderedCollections

/// The shapes that the tensors of one layer can have, by kohya's names of parts.
struct LayerShapes {
  typealias Shapes = OrderedDictionary<String, [Int]>

  /// [out, in] or [out, in, k, k]
  let weight: [Int]
  let rank: Int

  private var outputs: Int { weight[0] }
  private var inputs: Int { weight[1] }
  private var kernel: [Int] { Array(weight.dropFirst(2)) }
  private var columns: Int { weight.dropFirst().reduce(1, *) }
  private var ones: [Int] { kernel.map { _ in 1 } }

  /// One table a form, kernels included.
  var all: [Shapes] {
    [
      ["lora_down.weight": [rank, inputs] + kernel, "lora_up.weight": [outputs, rank] + ones],
      ["lora_down.weight": [rank, columns], "lora_up.weight": [outputs, rank]],
      [
        "lora_down.weight": [rank, inputs, 1, 1], "lora_mid.weight": [rank, rank] + (kernel.isEmpty ? [1, 1] : kernel),
        "lora_up.weight": [outputs, rank, 1, 1],
      ],
      ["hada_w1_a": [outputs, rank], "hada_w1_b": [rank, columns], "hada_w2_a": [outputs, 1], "hada_w2_b": [1, columns]],
      [
        "hada_w1_a": [outputs, rank] + ones, "hada_w1_b": [rank, inputs] + kernel, "hada_w2_a": [outputs, 1] + ones,
        "hada_w2_b": [1, inputs] + kernel,
      ],
      [
        "hada_w1_a": [rank, outputs], "hada_w1_b": [rank, inputs], "hada_t1": [rank, rank, 3, 3],
        "hada_w2_a": [1, outputs], "hada_w2_b": [1, inputs], "hada_t2": [1, 1, 3, 3],
      ],
      ["lokr_w1": [2, 1], "lokr_w2": [outputs / 2, inputs] + kernel],
      ["lokr_w1_a": [2, rank], "lokr_w1_b": [rank, 1], "lokr_w2_a": [outputs / 2, rank], "lokr_w2_b": [rank, columns]],
      ["lokr_w1": [1, 1], "lokr_w2_a": [rank, outputs], "lokr_w2_b": [rank, inputs], "lokr_t2": [rank, rank, 3, 3]],
      ["diff": weight],
      ["diff": [outputs, columns]],
    ]
  }

  /// What any of them can have besides.
  var extras: KeyValuePairs<String, [Int]> {
    [
      "alpha": [], "dora_scale": [outputs, 1] + ones, "dora_scale": [1, inputs] + ones, "dora_scale": [1, columns],
      "lora_magnitude_vector": [outputs], "diff_b": [outputs],
    ]
  }
}
