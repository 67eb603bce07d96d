/// Pictures in rows and columns with labels: the grid that compares methods, prompts or seeds at a glance.
///
/// Labels may be empty; long ones are broken into lines. Characters outside printable ASCII are drawn as "?".
public struct ContactSheet: Sendable {
  /// A place in the grid: a picture, or nothing, and a line below it such as a score.
  public struct Cell: Sendable {
    public var image: Image?
    public var caption: String

    public init(_ image: Image?, caption: String = "") {
      self.image = image
      self.caption = caption
    }
  }

  public var title: String
  /// Above the columns, from the left; missing ones are empty.
  public var columnLabels: [String]
  /// To the left of the rows, from the top; missing ones are empty.
  public var rowLabels: [String]
  /// Rows of cells, from the top; rows may be of different lengths.
  public var rows: [[Cell]]
  /// Every picture pixel becomes a square of this side: 1 for large pictures, more for tiny ones.
  public var magnification: Int
  /// Every pixel of a letter becomes a square of this side; letters are 5 x 7 pixels. The title is twice as large.
  public var textScale: Int

  public init(
    title: String = "", columnLabels: [String] = [], rowLabels: [String] = [], rows: [[Cell]], magnification: Int = 1,
    textScale: Int = 2
  ) {
    precondition(rows.contains { !$0.isEmpty }, "a contact sheet needs a cell")
    precondition(magnification > 0 && textScale > 0, "magnification \(magnification) and text scale \(textScale) start at 1")
    self.title = title
    self.columnLabels = columnLabels
    self.rowLabels = rowLabels
    self.rows = rows
    self.magnification = magnification
    self.textScale = textScale
  }

  /// Unlabelled pictures in rows of at most `columns`.
  public init(_ images: [Image], columns: Int, title: String = "", magnification: Int = 1) {
    precondition(columns > 0, "a contact sheet needs a column")
    let rows = stride(from: 0, to: images.count, by: columns).map { start in
      images[start..<min(start + columns, images.count)].map { Cell($0) }
    }
    self.init(title: title, rows: rows, magnification: magnification)
  }

  /// Draws the sheet: dark text on white; pictures of different sizes are centred in cells of the largest size.
  public func image() -> Image {
    let layout = Layout(self)
    var canvas = Canvas(width: layout.width, height: layout.height, color: .white)
    canvas.draw(layout.title, x: layout.margin, y: layout.margin, scale: 2 * textScale, color: Self.ink)
    for (column, lines) in layout.columnLabels.enumerated() {
      let center = layout.cellX(column) + layout.cellWidth / 2
      let top = layout.gridY - layout.gap - TextLines.height(lines.count, scale: textScale)
      canvas.draw(lines, centeredAt: center, y: top, scale: textScale, color: Self.ink)
    }
    for (row, cells) in rows.enumerated() {
      let top = layout.cellY(row)
      let label = layout.rowLabels[row]
      let labelY = top + max(0, layout.cellHeight - TextLines.height(label.count, scale: textScale)) / 2
      canvas.draw(label, x: layout.margin, y: labelY, scale: textScale, color: Self.ink)
      for (column, cell) in cells.enumerated() {
        let left = layout.cellX(column)
        if let image = cell.image?.magnified(by: magnification) {
          let x = left + (layout.cellWidth - image.width) / 2
          canvas.draw(image, x: x, y: top + (layout.cellHeight - image.height) / 2)
        }
        let captionY = top + layout.cellHeight + layout.captionGap
        let caption = layout.captions[row][column]
        canvas.draw(caption, centeredAt: left + layout.cellWidth / 2, y: captionY, scale: textScale, color: Self.secondaryInk)
      }
    }
    return canvas.image
  }

  private static let ink = Color(gray: 24)
  private static let secondaryInk = Color(gray: 96)
}

/// Where everything of a sheet goes, in pixels, and its texts broken into lines that fit.
private struct Layout {
  let margin: Int
  let gap: Int
  let captionGap: Int
  let cellWidth: Int
  let cellHeight: Int
  let title: [String]
  let columnLabels: [[String]]
  let rowLabels: [[String]]
  let captions: [[[String]]]
  let gridX: Int
  let gridY: Int
  let width: Int
  let height: Int
  private let rowHeights: [Int]

  /// Row labels are broken at this many characters.
  private static let longestLine = 18
  /// Cells are at least this many characters wide where they have text, and as wide as its longest word up to `longestLine`.
  private static let shortestLine = 10

  init(_ sheet: ContactSheet) {
    let scale = sheet.textScale
    let columns = sheet.rows.map(\.count).max()!
    let images = sheet.rows.joined().compactMap(\.image)
    let margin = 8 * scale
    let gap = 4 * scale
    let captionGap = 2 * scale
    let longestWord = (sheet.columnLabels + sheet.rows.joined().map(\.caption)).map(TextLines.longestWord).max() ?? 0
    let line = longestWord == 0 ? 0 : min(max(longestWord, Self.shortestLine), Self.longestLine)
    let widest = (images.map(\.width).max() ?? 1) * sheet.magnification
    let cellWidth = max(widest, TextLines.width(line, scale: scale))
    let cellHeight = (images.map(\.height).max() ?? 1) * sheet.magnification
    let charactersPerCell = TextLines.capacity(cellWidth, scale: scale)

    columnLabels = sheet.columnLabels.prefix(columns).map { TextLines.wrapped($0, at: charactersPerCell) }
    rowLabels = sheet.rows.indices.map { row in
      row < sheet.rowLabels.count ? TextLines.wrapped(sheet.rowLabels[row], at: Self.longestLine) : []
    }
    captions = sheet.rows.map { $0.map { TextLines.wrapped($0.caption, at: charactersPerCell) } }

    let rowLabelWidth = TextLines.width(rowLabels.joined().map(\.count).max() ?? 0, scale: scale)
    gridX = margin + (rowLabelWidth == 0 ? 0 : rowLabelWidth + 2 * gap)
    width = gridX + columns * (cellWidth + gap) - gap + margin
    title = TextLines.wrapped(sheet.title, at: max(1, TextLines.capacity(width - 2 * margin, scale: 2 * scale)))
    let titleHeight = TextLines.height(title.count, scale: 2 * scale)
    let labelHeight = TextLines.height(columnLabels.map(\.count).max() ?? 0, scale: scale)
    gridY = margin + (titleHeight == 0 ? 0 : titleHeight + 2 * gap) + (labelHeight == 0 ? 0 : labelHeight + gap)
    rowHeights = zip(captions, rowLabels).map { captions, label in
      let caption = TextLines.height(captions.map(\.count).max() ?? 0, scale: scale)
      return max(cellHeight + (caption == 0 ? 0 : captionGap + caption + gap), TextLines.height(label.count, scale: scale))
    }
    height = gridY + rowHeights.reduce(0) { $0 + $1 + gap } - gap + margin
    (self.margin, self.gap, self.captionGap) = (margin, gap, captionGap)
    (self.cellWidth, self.cellHeight) = (cellWidth, cellHeight)
  }

  func cellX(_ column: Int) -> Int { gridX + column * (cellWidth + gap) }
  func cellY(_ row: Int) -> Int { gridY + rowHeights.prefix(row).reduce(0) { $0 + $1 + gap } }
}
