import Diffusion
import Evaluation
import Foundation
import Images
import TestFiles
import Testing
import Torch

@Suite struct PreprocessingTests {
  /// Nine are identical; three differ by 1/255, since Pillow 13 begins with the columns where the height shrinks more (see
  /// `Image.resized`). What is divided by a standard deviation is multiplied again.
  @Test("as transformers with Pillow", arguments: ["clip", "vit", "bit"])
  func equalsTransformers(name: String) throws {
    let folder = try ModelFolder(path: "\(goldens)/encoders/preprocessing/\(name)")
    let preprocessing = try ImagePreprocessing(of: folder, processor: .clip)
    let expected = try Expectation("preprocessing")
    for index in 0..<4 {
      let picture = try expected("input.\(index)")
      let image = Image(width: picture.dim(1), height: picture.dim(0), pixels: picture.bytes())
      let found = preprocessing(image)
      let reference = try expected("output.\(name).\(index)")
      try #require(found.shape == reference.shape)
      let deviation = Tensor(preprocessing.standardDeviation.map(Float.init), shape: [1, 3, 1, 1])
      let largest = ((found - reference) * deviation).abs().max().item()
      #expect(largest < 1.0001 / 255, "\(name) \(index): \(255 * largest) of 255")
    }
  }

  private func read(_ json: String, _ processor: ImagePreprocessing.Processor = .clip) throws -> ImagePreprocessing {
    let folder = try TemporaryFolder()
    try json.write(toFile: "\(folder.path)/preprocessor_config.json", atomically: true, encoding: .utf8)
    return try ImagePreprocessing(of: ModelFolder(path: folder.path), processor: processor)
  }

  @Test("settings as they were written in 2022")
  func oldSettings() throws {
    // In the form of openai/clip-vit-large-patch14 and facebook/dino-vits16.
    let clip = try read(
      #"{"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true, "resample": 3, "size": 224, "#
        + #""feature_extractor_type": "CLIPFeatureExtractor"}"#)
    let numbers = "mean 0.48145466 0.4578275 0.40821073, std 0.26862954 0.26130258 0.27577711"
    #expect(
      clip.description
        == "CLIPImageProcessor: shortest edge to 224, bicubic (Pillow), centre 224 x 224, \(numbers)")
    let dino = try read(
      #"{"do_normalize": true, "do_resize": true, "feature_extractor_type": "ViTFeatureExtractor", "resample": 2, "size": 224, "#
        + #""image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}"#)
    #expect(
      dino.description
        == "ViTImageProcessor: to 224 x 224, bilinear (Pillow), mean 0.485 0.456 0.406, std 0.229 0.224 0.225")
    // What says nothing is what the model's kind has by default.
    #expect(try read("{}", .vit).outputSize == .init(height: 224, width: 224))
    #expect(try read("{}", .vit).resampling == .bilinear)
    #expect(try read("{}", .clip) == clip)
  }

  @Test(
    "what is not supported is named",
    arguments: [
      (
        #"{"image_processor_type": "DPTImageProcessor"}"#, #"image_processor_type is "DPTImageProcessor", which is not supported"#
      ),
      (#"{"do_resize": false}"#, "do_resize is false, which is not supported; supported: true"),
      (#"{"resample": 0}"#, "resample is 0, which is not supported; supported: 1 (Lanczos), 2 (bilinear), 3 (bicubic)"),
      (#"{"size": {"longest_edge": 5}}"#, #"size is ["longest_edge 5"], which is not supported; supported: shortest_edge"#),
      (#"{"crop_size": {"width": 5}}"#, "crop_size is [\"width 5\"], which is not supported; supported: height with width"),
      (#"{"do_center_crop": false}"#, "do_center_crop is false, expected true where only the shortest edge is given"),
      (#"{"size": 100}"#, "crop_size is 224 x 224, expected no more than size = 100 x 100"),
      (#"{"image_mean": [0.5]}"#, "image_mean is [0.5], expected 3 numbers"),
      (#"{"image_std": [0.5, 0, 1]}"#, "image_std is [0.5, 0.0, 1.0], expected 3 numbers above 0"),
      (#"{"size": "large"}"#, "preprocessor_config.json: is not a model configuration: size: "),
    ])
  func unsupported(json: String, message: String) throws {
    let error = try #require(throws: ConfigurationError.self) { try read(json) }
    #expect(error.description.contains(message), "\(error)")
    #expect(error.description.contains("preprocessor_config.json: "), "\(error)")
  }
}
