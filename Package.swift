// swift-tools-version: 6.2
import PackageDescription

// Swift 6 language mode follows from the tools version. These features make what a module leaks visible in its imports.
let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// Of programs: a training step asks for thousands of large blocks, and glibc's malloc takes a twelfth of its time (Docs/SPEED.md).
let allocator: [LinkerSetting] = [.linkedLibrary("tcmalloc_minimal", .when(platforms: [.linux]))]

let package = Package(
  name: "ziplora",
  platforms: [.macOS(.v15)],
  products: [
    .library(
      name: "ZipLoRA",
      targets: [
        "LayerNames", "SafeTensors", "Images", "Tokenization", "Torch", "LoRA", "Merging", "Diffusion", "Training",
        "Evaluation", "Hub", "Workflows",
      ]),
    .library(name: "ZipLoRAExperiments", targets: ["Toybox", "Experiments"]),
    .executable(name: "ziplora", targets: ["Command"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // libtorch, named by a pkg-config file that `make bootstrap` writes: flags in a .pc file, unlike unsafeFlags,
    // leave the package usable as a dependency.
    .systemLibrary(name: "CLibtorch", pkgConfig: "ziplora-libtorch"),
    // The only C++: boxed dispatcher calls, autograd, generators, groups of processes; no exception leaves it.
    .target(name: "CTorch", dependencies: ["CLibtorch"], cxxSettings: [.headerSearchPath("gloo-declarations")]),
    // The picture formats, from the system's own libraries.
    .systemLibrary(name: "CLibpng", pkgConfig: "libpng", providers: [.apt(["libpng-dev"]), .brew(["libpng"])]),
    .systemLibrary(name: "CLibjpeg", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"]), .brew(["jpeg-turbo"])]),
    .systemLibrary(name: "CLibwebp", pkgConfig: "libwebp", providers: [.apt(["libwebp-dev"]), .brew(["webp"])]),
    // Thin C over them, as longjmp must not cross Swift.
    .target(name: "CImage", dependencies: ["CLibpng", "CLibjpeg", "CLibwebp"]),
    // What layers are called in the original checkpoints and in diffusers: strings alone.
    .target(name: "LayerNames", swiftSettings: swiftSettings),
    // The safetensors format, without libtorch: bytes, shapes and names.
    .target(
      name: "SafeTensors",
      dependencies: [
        .product(name: "OrderedCollections", package: "swift-collections")
      ],
      swiftSettings: swiftSettings),
    // Reading, writing, scaling and arranging pictures, without libtorch.
    .target(
      name: "Images",
      dependencies: [
        "CImage", "SafeTensors",
      ],
      swiftSettings: swiftSettings),
    // CLIP's byte-pair encoding, without libtorch.
    .target(
      name: "Tokenization",
      dependencies: [
        "SafeTensors",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // Tensors, autograd, layers, optimizers. Knows nothing of diffusion.
    .target(
      name: "Torch",
      dependencies: [
        "CTorch", "SafeTensors",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // Adapters: factors, file dialects, branches of a frozen layer. Algebra on named matrices.
    .target(
      name: "LoRA",
      dependencies: [
        "LayerNames", "Torch", "SafeTensors",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // ZipLoRA and the other ways of making one adapter of several. Knows a diffusion model only as a FidelityProbe.
    .target(
      name: "Merging",
      dependencies: [
        "LoRA", "Torch", "SafeTensors",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // The networks of Stable Diffusion, their checkpoints, samplers and pipeline.
    .target(
      name: "Diffusion",
      dependencies: [
        "LayerNames", "Torch", "SafeTensors", "Tokenization",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // Training loops with a state that continues bit for bit; DreamBooth.
    .target(
      name: "Training",
      dependencies: [
        "Diffusion", "LoRA", "Merging", "Images", "Torch", "SafeTensors",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // How good pictures are: encoders, scores and their intervals.
    .target(
      name: "Evaluation", dependencies: ["Diffusion", "Images", "Tokenization", "Torch"], swiftSettings: swiftSettings),
    // The miniature world with ground truth and the base model trained on it.
    .target(
      name: "Toybox",
      dependencies: [
        "Diffusion", "Evaluation", "Images", "SafeTensors", "Tokenization", "Torch", "Training",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    // Models of the Hugging Face hub: its cache and what is missing in it. The only module that speaks HTTP.
    .target(
      name: "Hub",
      dependencies: [
        "SafeTensors",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOFoundationCompat", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
      ],
      swiftSettings: swiftSettings),
    // What a user asks for, as values that validate themselves and run: train, zip, generate, inspect.
    .target(
      name: "Workflows",
      dependencies: [
        "Diffusion", "Evaluation", "Hub", "Images", "LoRA", "Merging", "SafeTensors", "Tokenization", "Torch", "Training",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "Crypto", package: "swift-crypto"),
      ],
      swiftSettings: swiftSettings),
    // Grids of workflows with their reports, and the demo. Alone knows Toybox and YAML, which who zips does without.
    .target(
      name: "Experiments",
      dependencies: [
        "Diffusion", "Evaluation", "Images", "LoRA", "Merging", "SafeTensors", "Torch", "Toybox", "Training", "Workflows",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: swiftSettings),
    // The command line: options in, a workflow run, results out.
    .executableTarget(
      name: "Command",
      dependencies: [
        "Diffusion", "Evaluation", "Experiments", "Images", "LoRA", "Merging", "Toybox", "Training", "Torch", "Workflows",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings,
      linkerSettings: allocator),
    // Everything that reads LoRA files, on one file; for the fuzzer and for the tests of what it found.
    .target(
      name: "ReaderTrial",
      dependencies: [
        "LoRA", "Merging", "SafeTensors", "Torch",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Fuzz/Trial",
      swiftSettings: swiftSettings),
    // What tests of several modules need, without Testing, which is for test targets: folders, and where goldens are.
    .target(name: "TestFiles", path: "Tests/TestFiles", swiftSettings: swiftSettings),
    // A web server that stands for the hub.
    .target(
      name: "TestHub",
      dependencies: [
        "Hub", "TestFiles",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      path: "Tests/TestHub",
      swiftSettings: swiftSettings),
    // Comparison, checkpoints, processes.
    .target(
      name: "TestSupport",
      dependencies: [
        "Diffusion", "LoRA", "TestFiles", "Torch",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Tests/TestSupport",
      swiftSettings: swiftSettings),
    .testTarget(
      name: "SafeTensorsTests",
      dependencies: [
        "SafeTensors", "TestFiles",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "ImagesTests",
      dependencies: [
        "Images", "SafeTensors", "TestFiles",
      ],
      resources: [.copy("Fixtures")],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "TokenizationTests",
      dependencies: [
        "TestFiles", "Tokenization",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "TorchTests",
      dependencies: [
        "Torch", "SafeTensors", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "LoRATests",
      dependencies: [
        "LoRA", "Torch", "SafeTensors", "TestFiles", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "MergingTests",
      dependencies: [
        "Merging", "LoRA", "Torch", "SafeTensors", "TestFiles", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "DiffusionTests",
      dependencies: [
        "Diffusion", "LayerNames", "Torch", "SafeTensors", "Tokenization", "TestFiles", "TestSupport",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "TrainingTests",
      dependencies: [
        "Training", "Diffusion", "LoRA", "Merging", "Images", "Torch", "SafeTensors", "TestFiles", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "EvaluationTests",
      dependencies: [
        "Evaluation", "Diffusion", "Images", "Torch", "TestFiles", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "ToyboxTests",
      dependencies: [
        "Toybox", "Diffusion", "Evaluation", "Images", "Merging", "SafeTensors", "TestFiles", "Tokenization", "Torch", "Training",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(name: "HubTests", dependencies: ["Hub", "TestFiles", "TestHub"], swiftSettings: swiftSettings),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "Command", "Diffusion", "Evaluation", "Experiments", "Images", "LoRA", "Merging", "SafeTensors", "Torch", "Training",
        "Workflows", "TestFiles", "TestHub", "TestSupport",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      exclude: ["Help"],
      swiftSettings: swiftSettings),
    .testTarget(name: "ReaderTrialTests", dependencies: ["ReaderTrial", "TestFiles"], swiftSettings: swiftSettings),
  ],
  cxxLanguageStandard: .cxx20
)

// Benchmarks join the package only when asked for (`make bench`, `make bench-svd`), so that a plain build does not make them.
if Context.environment["ZIPLORA_BENCHMARKS"] == "1" {
  package.targets.append(
    .executableTarget(
      name: "ModelBenchmark",
      dependencies: [
        "Diffusion", "LoRA", "Merging", "Torch", "Training",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Benchmarks/Model",
      swiftSettings: swiftSettings,
      linkerSettings: allocator))
  package.targets.append(
    .executableTarget(
      name: "ConvergenceBenchmark",
      dependencies: [
        "Diffusion", "Images", "LoRA", "Merging", "Torch", "Training",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Benchmarks/Convergence",
      swiftSettings: swiftSettings,
      linkerSettings: allocator))
  package.targets.append(
    .executableTarget(
      name: "SVDMergeBenchmark",
      dependencies: [
        "LoRA", "Merging", "Torch",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Benchmarks/SVDMerge",
      swiftSettings: swiftSettings,
      linkerSettings: allocator))
}

// The fuzzer, too (`make fuzz`). Its main is libFuzzer's, which a Swift executable cannot have.
if Context.environment["ZIPLORA_FUZZING"] == "1" {
  package.targets.append(
    .target(
      name: "ReaderMutation",
      dependencies: [
        "ReaderTrial", "LoRA", "SafeTensors", "Torch",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Fuzz/Mutation",
      swiftSettings: swiftSettings))
  package.targets.append(.executableTarget(name: "ReaderFuzzer", dependencies: ["ReaderMutation"], path: "Fuzz/Fuzzer"))
}
