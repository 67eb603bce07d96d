public import Diffusion
public import LoRA
public import OrderedCollections
internal import Torch

extension DiffusionModel {
  /// The layers of U-Net and text encoders that adapters can branch from, by full path.
  public var projections: Projections {
    .joining(
      Component.allCases.compactMap { component in
        stores[component.rawValue].map { (component, $0.projections) }
      })
  }

  /// What adapter files for this model are read and written against.
  public var moduleNames: ModuleNames { ModuleNames(projections) }

  /// The U-Net's own word for what it is trained to predict, for latents at these timesteps.
  func target(clean: Tensor, noise: Tensor, at timesteps: Tensor) -> Tensor {
    switch schedule.configuration.predictionType {
    case .epsilon: noise
    case .velocity: schedule.velocity(clean: clean, noise: noise, at: timesteps)
    }
  }

  /// What the U-Net predicts for noisy latents [N, C, h, w] at timesteps [N], in float32.
  func prediction(_ noisy: Tensor, _ timesteps: Tensor, _ conditioning: Conditioning) -> Tensor {
    unet(
      sample: noisy.to(dtype: dtype), timestep: timesteps, encoderHiddenStates: conditioning.states,
      addedConditions: conditioning.added
    ).to(dtype: .float32)
  }
}

extension Checkpoint {
  /// What adapter files for this model are read and written against. No weight is read for it.
  public var moduleNames: ModuleNames { get throws { ModuleNames(try projectionShapes()) } }
}
