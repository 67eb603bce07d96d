internal import Diffusion

/// What the settings of all encoders of pictures have to fulfil.
enum VisionSettings {
  static func validate(width: Int, heads: Int, layers: Int, imageSize: Int, patchSize: Int) throws {
    try ConfigurationError.require(layers >= 0, "num_hidden_layers", "\(layers)", "0 or more")
    try ConfigurationError.require(
      heads > 0 && width > 0 && width % heads == 0, "hidden_size", "\(width)", "a multiple of num_attention_heads = \(heads)")
    try ConfigurationError.require(
      patchSize > 0 && imageSize >= patchSize, "image_size", "\(imageSize)", "at least patch_size = \(patchSize)")
  }
}
