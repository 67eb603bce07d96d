// swift-tools-version: 6.2
import PackageDescription

// A package that depends on ziplora, as an app would: `make example`.
let package = Package(
  name: "zip-example",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "ziplora", path: "../..")],
  targets: [
    .executableTarget(
      name: "zip-example", dependencies: [.product(name: "ZipLoRA", package: "ziplora")], path: "Sources")
  ])
