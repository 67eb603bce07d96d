import Images
import Testing

@Suite struct ContactSheetTests {
  let red = Color(red: 255, green: 0, blue: 0)
  let blue = Color(red: 0, green: 0, blue: 255)

  /// The columns and rows of a picture that hold a colour.
  func bounds(of color: Color, in image: Image) -> (x: ClosedRange<Int>, y: ClosedRange<Int>)? {
    let found = (0..<image.height).flatMap { y in (0..<image.width).map { (x: $0, y: y) } }.filter { image[$0.x, $0.y] == color }
    guard let left = found.map(\.x).min(), let right = found.map(\.x).max(), let top = found.map(\.y).min(),
      let bottom = found.map(\.y).max()
    else { return nil }
    return (left...right, top...bottom)
  }

  @Test func picturesStandInRowsAndColumns() throws {
    let images = [Image(width: 10, height: 8, color: red), Image(width: 4, height: 2, color: blue)]
    let sheet = ContactSheet(images, columns: 2, magnification: 3).image()
    let first = try #require(bounds(of: red, in: sheet))
    let second = try #require(bounds(of: blue, in: sheet))
    // Margins of 16, a gap of 8, cells of 30 x 24; the smaller picture of 12 x 6 in the middle of its cell.
    #expect(first.x == 16...45 && first.y == 16...39)
    #expect(second.x == 63...74 && second.y == 25...30)
    #expect((sheet.width, sheet.height) == (100, 56))
  }

  @Test func labelsStandBesideThePictures() throws {
    let cell = ContactSheet.Cell(Image(width: 96, height: 96, color: red), caption: "0.91")
    let plain = ContactSheet(rows: [[.init(cell.image)]]).image()
    let labelled = ContactSheet(title: "Title", columnLabels: ["column"], rowLabels: ["row"], rows: [[cell]]).image()
    let grid = try #require(bounds(of: red, in: labelled))
    #expect(grid.x.count == 96 && grid.y.count == 96)
    #expect(labelled.width > plain.width && labelled.height > plain.height)
    let regions = [
      (0..<grid.x.lowerBound, grid.y.lowerBound..<grid.y.upperBound),  // row label
      (grid.x.lowerBound..<labelled.width, 0..<grid.y.lowerBound),  // column label
      (grid.x.lowerBound..<labelled.width, grid.y.upperBound + 1..<labelled.height),  // caption
    ]
    for (columns, rows) in regions {
      let inked = rows.contains { y in columns.contains { labelled[$0, y] != .white } }
      #expect(inked, "no text in columns \(columns), rows \(rows)")
    }
  }

  /// A column makes room for the longest word, up to 18 characters, so that none is broken.
  @Test(arguments: [("a caption", 10), ("both predictions", 11), ("a_very_long_word_in_a_label", 18)])
  func cellsAreAsWideAsTheLongestWord(label: String, characters: Int) throws {
    let picture = Image(width: 16, height: 16, color: red)
    let sheet = ContactSheet(columnLabels: [label], rows: [[.init(picture)]]).image()
    // Letters are 6 pixels apart and 2 x 2 large, the last one without its space; margins of 16.
    #expect(sheet.width == (6 * characters - 1) * 2 + 32)
    #expect(ContactSheet(rows: [[.init(picture, caption: label)]]).image().width == sheet.width)
  }

  @Test func noTextTouchesAPictureOrTheEdge() throws {
    let cell = ContactSheet.Cell(Image(width: 64, height: 64, color: red), caption: "a caption that needs several lines, surely")
    let label = "a photo of a [V] dog in the style of a crayon drawing with_a_very_long_word_in_it"
    let sheet = ContactSheet(
      title: label, columnLabels: [label, label], rowLabels: [label], rows: [[cell, cell], [cell]]
    ).image()
    var reds = 0
    for y in 0..<sheet.height {
      for x in 0..<sheet.width {
        if sheet[x, y] == red { reds += 1 }
        let isEdge = x < 8 || y < 8 || x >= sheet.width - 8 || y >= sheet.height - 8
        if isEdge, sheet[x, y] != .white { Issue.record("ink at the edge (\(x), \(y))") }
      }
    }
    #expect(reds == 3 * 64 * 64)
  }

  /// Each printable character has a shape of its own; any other is a question mark.
  @Test func charactersDiffer() {
    func drawn(_ character: Character) -> Image {
      ContactSheet(rowLabels: [String(character)], rows: [[.init(Image(width: 16, height: 16, color: red))]]).image()
    }
    let printable = (0x21...0x7E).map { Character(Unicode.Scalar(UInt8($0))) }
    let images = printable.map(drawn)
    for index in images.indices {
      for other in images.indices[..<index] where images[other] == images[index] {
        Issue.record("\(printable[other]) and \(printable[index]) look the same")
      }
    }
    #expect(drawn("\u{732B}") == drawn("?"))
    #expect(drawn("\u{1F436}") == drawn("?"))
  }
}
