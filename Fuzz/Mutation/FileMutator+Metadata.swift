import OrderedCollections

extension FileMutator {
  func changeMetadata(of sketch: inout FileSketch, using random: inout some RandomNumberGenerator) {
    let key = MetadataWords.keys.randomElement(using: &random)!
    switch Int.random(in: 0..<6, using: &random) {
    case 0: sketch.metadata[key] = nil
    case 1: sketch.metadata[key] = MetadataWords.values.randomElement(using: &random)!
    case 2: sketch.metadata[key] = member(MetadataWords.names, of: sketch.metadata[key], using: &random)
    case 3:
      // A pattern of alphas, in either place.
      let (key, prefix) = [("adapter_config.json", ""), ("lora_adapter_metadata", "unet.")].randomElement(using: &random)!
      let pieces = (0..<Int.random(in: 1...5, using: &random)).map { _ in MetadataWords.pieces.randomElement(using: &random)! }
      sketch.metadata[key] = #"{"\#(prefix)alpha_pattern":{"\#(pieces.joined())":2}}"#
    case 4:
      let ranks = (0..<2).map { _ in MetadataWords.ranks.randomElement(using: &random)! }
      let exceptions = member(sketch.items.keys.map { key in String(key.prefix { $0 != "." }) } + ["a"], of: nil, using: &random)
      sketch.metadata["ziplora.shares"] =
        #"{"inputs":[{"name":"a","weight":1},{"name":"b","weight":0.5}],"ranks":[\#(ranks[0]),\#(ranks[1])],"#
        + #""exceptions":\#(Bool.random(using: &random) ? "{}" : exceptions)}"#
    default: sketch.metadata[key] = edited(sketch.metadata[key] ?? "{}", using: &random)
    }
  }

  /// An object with one member more.
  private func member(_ names: [String], of object: String?, using random: inout some RandomNumberGenerator) -> String {
    var text = object ?? "{}"
    if text.hasSuffix("}") { text.removeLast() }
    let (name, value) = (names.randomElement(using: &random)!, MetadataWords.values.randomElement(using: &random)!)
    return "\(text)\(text.contains(":") ? "," : "")\"\(name)\":\(value)}"
  }

  /// A text with something else at some place.
  private func edited(_ text: String, using random: inout some RandomNumberGenerator) -> String {
    let place = text.indices.randomElement(using: &random) ?? text.startIndex
    let end = text.index(place, offsetBy: Int.random(in: 0...2, using: &random), limitedBy: text.endIndex) ?? place
    let words = MetadataWords.values + MetadataWords.pieces + [String(UnicodeScalar(.random(in: 0...127, using: &random)))]
    return text[..<place] + words.randomElement(using: &random)! + text[end...]
  }
}

/// What metadata is made of.
private enum MetadataWords {
  static let keys = [
    "adapter_config.json", "lora_adapter_metadata", "ziplora.shares", "ziplora.prompts", "ss_tag_frequency", "ss_dataset_dirs",
    "ss_base_model_version", "ss_network_dim", "modelspec.trigger_phrase",
  ]
  static let names =
    ["", "unet.", "text_encoder.", "text_encoder_2."].flatMap { prefix in
      ["lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "r"].map { prefix + $0 }
    } + ["inputs", "ranks", "exceptions", "name", "weight", "1_dog", "proj_in"]
  static let values = [
    "0", "1", "2", "-1", "1.5", "9223372036854775807", "1e308", "1e999", "-0", "true", "false", "null", "\"\"", "{}", "[]",
    "{\"proj_in\":2}", "{\"a\":{\"b\":9e18,\"c\":3},\"d\":{\"b\":9e18}}", "[1,1]", "[[", "{\"a\":", "\\u0000", "sd_v1", "sdxl",
    "\u{1b}[31m", "𝄞", "e\u{301}", "\"",
  ]
  /// Of regular expressions, as JSON spells them.
  static let pieces = [
    "to_k", "proj_in", "conv", "a", "x", ".", "*", "+", "?", "(", ")", "|", "(.*)*", "(a|aa)+$", "^", "$", "[a-z]", "[^d]", "[",
    "]",
    "{2}", "{1,}", "{0,3}", "{65535}", "(?:", "(?=", "(?<a>", "\\\\d", "\\\\.", "\\\\1", "\\\\", "attn2\\\\.to_(k|v)",
  ]
  static let ranks = ["0", "1", "2", "3", "-1", "9223372036854775807", "1.5"]
}
