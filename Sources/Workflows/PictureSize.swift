/// Width and height in pixels; nil for the model's own.
public struct PictureSize: Codable, Sendable, Equatable {
  public var width: Int?
  public var height: Int?

  public init(width: Int? = nil, height: Int? = nil) {
    self.width = width
    self.height = height
  }

  private var largest: Int { 32_768 }

  package func validate() throws(SettingError) {
    if let width { try Demand.atLeast(1, width, "width", atMost: largest) }
    if let height { try Demand.atLeast(1, height, "height", atMost: largest) }
  }
}
