public import Diffusion
public import Torch

// Settings that are kept by name, so that a run record says what the command line said.

extension DType: Codable {
  public init(from decoder: any Decoder) throws {
    let name = try decoder.singleValueContainer().decode(String.self)
    guard let dtype = DType(named: name) else { throw SettingError("there is no element type \"\(name)\"") }
    self = dtype
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

extension Device: Codable {
  public init(from decoder: any Decoder) throws {
    let name = try decoder.singleValueContainer().decode(String.self)
    guard let device = Device(named: name) else { throw SettingError("there is no device \"\(name)\"") }
    self = device
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

extension Sampler: Codable {
  public init(from decoder: any Decoder) throws {
    self = try .named(decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(name)
  }
}
