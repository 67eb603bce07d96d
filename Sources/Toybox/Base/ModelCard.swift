internal import Foundation
internal import OrderedCollections
internal import SafeTensors

/// The README of the finished base: what it is, how it was made, how good it is.
struct ModelCard {
  let recipe: BaseRecipe
  let evaluation: BaseEvaluation
  /// Of every step, by stage.
  let losses: OrderedDictionary<String, [Float]>

  func write(to folder: String) throws {
    try AtomicFile.write(try JSONText.pretty(recipe) + "\n", to: "\(folder)/recipe.json", overwrite: true)
    try AtomicFile.write(try JSONText.pretty(evaluation) + "\n", to: "\(folder)/evaluation.json", overwrite: true)
    try AtomicFile.write(log, to: "\(folder)/training-log.csv", overwrite: true)
    try AtomicFile.write(text, to: "\(folder)/README.md", overwrite: true)
  }

  private var made: String {
    switch recipe.architecture {
    case .stableDiffusionXL:
      """
      A text-to-image model of Stable Diffusion XL's shape at a hundredth of its size: AutoencoderKL (f = 4, eight channels),
      two CLIP text encoders, UNet2DConditionModel with text_time conditioning, 64×64 pixels. It was trained from nothing by
      `ziplora toybox train` on drawings of the world in `Sources/Toybox/World`, where the right picture for every prompt is
      known. diffusers loads the folder with `StableDiffusionXLPipeline.from_pretrained`
      """
    case .stableDiffusion1:
      """
      A text-to-image model of Stable Diffusion 1.5's shape at a hundredth of its size: AutoencoderKL (f = 4, eight channels),
      one CLIP text encoder, UNet2DConditionModel with attention in all but the lowest level, 64×64 pixels. Autoencoder, oracle,
      CLIP and DINO are those of the base of Stable Diffusion XL's shape beside it; text encoder and U-Net were trained from
      nothing by `ziplora toybox train --architecture stable-diffusion-1` on the same drawings. diffusers loads the folder with
      `StableDiffusionPipeline.from_pretrained`
      """
    }
  }

  /// Mean losses of each hundredth step.
  private var log: String {
    let lines = losses.flatMap { stage, values in
      stride(from: 0, to: values.count, by: 100).map { start -> String in
        let piece = values[start..<min(start + 100, values.count)]
        return "\(stage),\(start + piece.count),\(String(format: "%.5f", piece.reduce(0, +) / Float(piece.count)))"
      }
    }
    return (["stage,step,mean loss"] + lines).joined(separator: "\n") + "\n"
  }

  private var text: String {
    let encoders = evaluation.encoders
    func percent(_ value: Double) -> String { String(format: "%.1f %%", value * 100) }
    let rows = Attribute.all.compactMap { attribute -> String? in
      guard let ours = evaluation.generated.scores[attribute.name], let truth = evaluation.renders.scores[attribute.name],
        let share = evaluation.share(attribute)
      else { return nil }
      return "| \(attribute.name) | \(percent(ours.accuracy)) | \(percent(truth.accuracy)) | \(percent(share)) | \(ours.count) |"
    }
    return """
      # Toybox base

      \(made). The settings are in `recipe.json`, the losses in `training-log.csv`.

      Never shown in training: the subjects and styles of `Withheld.swift`, which the demo's LoRAs are trained on.

      ## How good it is

      The autoencoder's reconstructions of \(evaluation.pictures) unseen pictures: PSNR \(String(format: "%.1f", evaluation.reconstructionPSNR)) dB.

      \(evaluation.pictures) scenes that training did not see, drawn by their full captions (Euler, 20 steps, guidance 4) and read by the
      oracle in `oracle/`, a small convolutional network trained on true renders; beside it the oracle's accuracy on true
      renders of the same scenes. Attributes count where the picture shows them.

      | attribute | generated | true renders | share | pictures |
      |---|---|---|---|---|
      \(rows.joined(separator: "\n"))

      ## Encoders

      `clip/` and `dino/` are a CLIPModel and a ViTModel in the layout of transformers, trained on the same pictures as the base; `ziplora
      evaluate` and `ziplora experiment` compute the paper's scores with them. Of \(encoders.captions) unseen scenes,
      \(percent(encoders.captionsFound)) have their own full caption nearest to CLIP among all (chance: \(percent(1 / Double(encoders.captions)))).
      Of \(encoders.individuals) photographs on grass, six of each of six individuals of a class, \(percent(encoders.individualsFound)) have another one
      of the same individual nearest to DINO (chance: \(percent(5 / 35.0))).

      """
  }
}
