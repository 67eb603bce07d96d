internal import Diffusion
internal import Evaluation
internal import Images
internal import Torch

/// How well the encoders know the world, on scenes that they have not seen.
struct EncoderEvaluation: Codable {
  /// Of pictures whose own caption is the nearest of all captions to CLIP, and their number.
  var captionsFound: Double
  var captions: Int
  /// Of photographs whose nearest other one shows the same individual to DINO, among those of its class in the same place, and their
  /// number.
  var individualsFound: Double
  var individuals: Int

  /// - Parameter base: the folder with both encoders.
  static func run(base: String, count: Int, seed: UInt64) throws -> EncoderEvaluation {
    var sampler = SceneSampler(random: SplitMix64(seed: seed))
    let scenes = sampler.next(count)
    let clip = try CLIPEncoder(ModelFolder(path: "\(base)/clip"))
    let pictures = Tensor.stacked(scenes.map { clip.direction(of: Image(rendered: $0)) })
    let texts = Tensor.stacked(scenes.map { clip.direction(of: Caption.full($0)) })
    let nearest = pictures.matmul(texts.transposed()).argmax(1)
    let right = (nearest .== Tensor.arange(count)).to(dtype: .float32).mean().item()

    let dino = try ImageEncoders.load(ModelFolder(path: "\(base)/dino"))
    let photographs = individuals(seed: seed)
    let directions = Tensor.stacked(photographs.flatMap { $0 }.map { dino.direction(of: Image(rendered: $0)) })
    let perClass = individualsPerClass * photographsPerIndividual
    let found = stride(from: 0, to: directions.dim(0), by: perClass).flatMap { start -> [Bool] in
      let own = directions[start..<start + perClass]
      // No picture is its own neighbour.
      let cosines = own.matmul(own.transposed()) - Tensor.eye(perClass) * 4
      return cosines.argmax(1).floats().enumerated().map {
        $0.offset / photographsPerIndividual == Int($0.element) / photographsPerIndividual
      }
    }
    return EncoderEvaluation(
      captionsFound: right, captions: count, individualsFound: Double(found.count { $0 }) / Double(found.count),
      individuals: found.count)
  }

  private static let individualsPerClass = 6
  private static let photographsPerIndividual = 6

  /// Of each class some individuals, each photographed in different poses.
  private static func individuals(seed: UInt64) -> [[Scene]] {
    var random = SplitMix64(seed: seed)
    return SubjectClass.allCases.map { subjectClass in
      (0..<individualsPerClass).flatMap { _ in
        let subject = Subject(subjectClass, .random(&random))
        return (0..<photographsPerIndividual).map { _ in Scene(subject, context: .grass, pose: .random(&random)) }
      }
    }
  }
}
