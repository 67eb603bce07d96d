internal import OrderedCollections

extension Adapter {
  /// The adapter's own metadata without what is true of the file it came from only.
  var lastingMetadata: OrderedDictionary<String, String> {
    let ofFile =
      [DiffusersDialect.metadataKey, PEFTDialect.configurationFile, "format", "modelspec.date"] + ContentHashes.keys
    return metadata.filter { !ofFile.contains($0.key) }
  }
}

extension AdapterFile {
  /// What sd-scripts, A1111 and tools around them look for (sd-scripts: library/train_util.py
  /// build_minimum_network_metadata, library/sai_model_spec.py). Without dates, so that the same adapter is the same file.
  ///
  /// - Parameter old: what the adapter comes with. Where that says more of a base of the same family, as of Stable Diffusion 2.x
  ///   with v prediction, it stays.
  static func standardMetadata(
    for layers: [LowRankFactors], of base: ModuleNames, replacing old: OrderedDictionary<String, String>
  ) -> OrderedDictionary<String, String> {
    var new = standardMetadata(for: layers, of: base)
    let (version, architecture) = ("ss_base_model_version", "modelspec.architecture")
    if let family = new[version], old[version]?.hasPrefix(family) == true {
      new[version] = old[version]
      if let old = old[architecture], old.hasSuffix("/lora") { new[architecture] = old }
    }
    return old.merging(new) { $1 }
  }

  private static func standardMetadata(
    for layers: [LowRankFactors], of base: ModuleNames
  ) -> OrderedDictionary<String, String> {
    var metadata: OrderedDictionary<String, String> = [
      "ss_network_module": "networks.lora",
      "ss_network_dim": common(layers.map { "\($0.rank)" }),
      "ss_network_alpha": common(layers.map { "\($0.alpha)" }),
      "ss_network_args": "{}",
      "modelspec.sai_model_spec": "1.0.0",
    ]
    let architecture: String
    switch base.family {
    case .stableDiffusion1?:
      metadata["ss_base_model_version"] = "sd_v1"
      architecture = "stable-diffusion-v1"
    case .stableDiffusion2?:
      metadata["ss_base_model_version"] = "sd_v2"
      architecture = "stable-diffusion-v2-512"
    case .stableDiffusionXL?:
      metadata["ss_base_model_version"] = "sdxl_base_v1-0"
      architecture = "stable-diffusion-xl-v1-base"
    case .other?, nil: return metadata
    }
    metadata["ss_v2"] = base.family == .stableDiffusion2 ? "True" : "False"
    metadata["modelspec.architecture"] = "\(architecture)/lora"
    metadata["modelspec.implementation"] =
      base.family == .stableDiffusionXL ? "https://github.com/Stability-AI/generative-models" : "diffusers"
    return metadata
  }

  /// The value that all layers share, or the word that kohya's resizing writes where they differ.
  private static func common(_ values: [String]) -> String {
    OrderedSet(values).count == 1 ? values[0] : "Dynamic"
  }
}
