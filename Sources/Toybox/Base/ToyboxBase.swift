internal import Diffusion
internal import Foundation
internal import OrderedCollections
internal import SafeTensors
internal import Tokenization
internal import Torch
public import Training

/// Trains the whole base from nothing: pictures, tokenizer, autoencoder, text encoders with UNet, oracle.
///
/// Every stage saves its state in `work`, so the same command continues where an earlier run ended; what another recipe has
/// left there is refused, or made again.
public struct ToyboxBase {
  public let recipe: BaseRecipe
  /// Folder for states; large, not kept. Bases of different architectures share everything in it but U-Net and text encoders.
  public let work: String
  /// Folder of the finished base.
  public let output: String
  /// Whether what is in that folder may be replaced. What this training has put there, before it was stopped, may anyway.
  public let overwrite: Bool

  public init(recipe: BaseRecipe, work: String, output: String, overwrite: Bool = false) {
    self.recipe = recipe
    self.work = work
    self.output = output
    self.overwrite = overwrite
  }

  /// - Throws: `Interrupted` when the handler asks to stop; every stage's state is kept then. `AtomicFileError` for a folder that
  ///   holds files of others.
  public func train(progress: @escaping ProgressHandler) throws {
    for folder in [work, output] {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }
    try claimOutput()
    let tokenizer = try BaseTokenizer.train(vocabularySize: recipe.vocabularySize)
    let (pictures, captions) = try drawPictures(progress: progress)
    let ids = Tensor.stacked(captions.map { Tensor(tokenizer.encode($0)) })

    let autoencoder = try AutoencoderTraining(recipe: recipe)
    try autoencoder.run(pictures: pictures, state: "\(work)/autoencoder.safetensors", progress: progress)
    let latents = try encode(pictures, autoencoder, progress: progress)
    try autoencoder.refineDecoder(
      pictures: pictures, latents: latents, state: "\(work)/decoder.safetensors", progress: progress)
    let scalingFactor = 1 / latents.variance([0, 1, 2, 3]).sqrt().item()

    let base = try BaseTraining(recipe: recipe, tokenizer: tokenizer)
    let folder = BaseFolder(path: output)
    func write() throws {
      try folder.write(tokenizer: tokenizer, autoencoder: autoencoder, scalingFactor: scalingFactor, base: base)
    }
    let losses = try base.run(
      latents: latents * scalingFactor, captions: ids, emptyCaption: Tensor(tokenizer.encode("")),
      state: "\(work)/\(recipe.architecture.rawValue).safetensors", progress: progress,
      afterStep: { step, average in
        if step % recipe.previewEvery == 0 { try average?.whileApplied(write) }
      })
    try write()

    let oracle = OracleTraining(recipe: recipe)
    try oracle.run(state: "\(work)/oracle.safetensors", progress: progress)
    try folder.write(oracle: oracle.store)

    let clipConfiguration = BaseConfiguration.clip(vocabulary: tokenizer.count, end: tokenizer.eosTokenID)
    let clip = try CLIPTraining(recipe: recipe, configuration: clipConfiguration)
    try clip.run(pictures: pictures, captions: ids, state: "\(work)/clip.safetensors", progress: progress)
    try folder.write(clip: clip, configuration: clipConfiguration, tokenizer: tokenizer)
    let dino = try DINOTraining(recipe: recipe, configuration: BaseConfiguration.dino)
    try dino.run(pictures: pictures, state: "\(work)/dino.safetensors", progress: progress)
    try folder.write(dino: dino)

    // What is judged is what was written, in half precision.
    var unseen = SceneSampler(random: SplitMix64(seed: recipe.evaluationSeed))
    let evaluation = try BaseEvaluation.run(
      model: DiffusionModel(folder: output), oracle: Oracle(base: output),
      encoders: .run(base: output, count: recipe.evaluationPictures, seed: recipe.evaluationSeed),
      psnr: autoencoder.reconstructionPSNR(of: renderBatch(unseen.next(recipe.evaluationPictures))),
      count: recipe.evaluationPictures, seed: recipe.evaluationSeed, progress: progress)
    let card = ModelCard(recipe: recipe, evaluation: evaluation, losses: ["base": losses])
    try card.write(to: output)
    try FileManager.default.removeItem(atPath: claim)
  }

  /// Says to a later run of the same training whose the files in the output folder are.
  private var claim: String { "\(work)/\(recipe.architecture.rawValue).output" }

  private func claimOutput() throws {
    let folder = URL(filePath: output).standardizedFileURL.resolvingSymlinksInPath().path
    let isOwn = FileManager.default.contents(atPath: claim).map { String(decoding: $0, as: UTF8.self) } == folder
    if !isOwn, !overwrite {
      let names = try FileManager.default.subpathsOfDirectory(atPath: output).sorted()
      for name in names where !name.split(separator: "/").contains(where: { $0.hasPrefix(".") }) {
        var isFolder: ObjCBool = false
        let file = "\(output)/\(name)"
        guard FileManager.default.fileExists(atPath: file, isDirectory: &isFolder), !isFolder.boolValue else { continue }
        try AtomicFile.check(file)
      }
    }
    try AtomicFile.write(folder, to: claim, overwrite: true)
  }

  /// Pictures uint8 [N, 3, 64, 64] with their captions, drawn once.
  private func drawPictures(progress: ProgressHandler) throws -> (pictures: Tensor, captions: [String]) {
    let file = "\(work)/pictures.safetensors"
    if FileManager.default.fileExists(atPath: file) {
      let saved = try SafeTensorsCollection(path: file)
      let captions = (saved.file.metadata["captions"] ?? "").components(separatedBy: "\n")
      if try saved.file.metadata["recipe"] == recipe.sharedText { return (try saved.tensor("pictures"), captions) }
    }
    var random = SplitMix64(seed: recipe.worldSeed)
    var sampler = SceneSampler(random: SplitMix64(seed: random.next()))
    var pictures: [Tensor] = []
    var captions: [String] = []
    var timer = StepTimer()
    while captions.count < recipe.pictures {
      let batch = (0..<min(500, recipe.pictures - captions.count)).map { _ in sampler.next() }
      pictures.append(renderBatch(batch))
      captions += batch.map { Caption.make($0, &random) }
      timer.tick()
      let report = ProgressReport(
        phase: "drawing pictures", step: captions.count, total: recipe.pictures,
        secondsPerStep: timer.secondsPerStep.map { $0 / 500 })
      if !progress(report) { throw Interrupted(phase: report.phase, step: captions.count, state: nil) }
    }
    let all = Tensor.concatenated(pictures)
    try saveSafeTensors(
      ["pictures": all], metadata: ["captions": captions.joined(separator: "\n"), "recipe": recipe.sharedText], to: file,
      overwrite: true)
    return (all, captions)
  }

  private func encode(
    _ pictures: Tensor, _ autoencoder: AutoencoderTraining, progress: ProgressHandler
  ) throws -> Tensor {
    let file = "\(work)/latents.safetensors"
    if FileManager.default.fileExists(atPath: file) {
      let saved = try SafeTensorsCollection(path: file)
      if try saved.file.metadata["recipe"] == recipe.sharedText { return try saved.tensor("latents") }
    }
    let latents = try autoencoder.latents(of: pictures, progress: progress)
    try saveSafeTensors(["latents": latents], metadata: ["recipe": recipe.sharedText], to: file, overwrite: true)
    return latents
  }
}
