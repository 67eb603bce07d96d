/// Styles and individuals that captions call by a name: the slots in which a LoRA's new words arrive.
public struct Named<Value: Equatable & Sendable>: Sendable {
  public let name: String
  public let value: Value
}

/// Fixed styles, "in NAME style".
public enum NamedStyle {
  public static let all: [Named<Style>] = {
    var random = SplitMix64(seed: 0x57_59_4C_45)
    var styles: [Style] = []
    let names = compounds(["bra", "cle", "dro", "fli", "gru", "pla", "sno", "tri"], ["vane", "mish", "dell", "toon"])
    while styles.count < names.count {
      let style = Style.random(&random)
      if style != .photo && !Withheld.contains(style) && !styles.contains(style) { styles.append(style) }
    }
    return zip(names, styles).map(Named.init)
  }()

  public static func name(of style: Style) -> String? { all.first { $0.value == style }?.name }
}

/// Fixed individuals, six of each class, "a NAME cat".
public enum NamedIndividual {
  public static let all: [Named<Subject>] = {
    var random = SplitMix64(seed: 0x4E_41_4D_45)
    let names = compounds(
      ["mo", "ti", "lu", "ba", "ze", "ko", "ni", "ra", "fe", "du", "pi", "sa"],
      ["lo", "rry", "kka", "mmi", "bbo", "ggy", "sko", "zu"])
    return names.enumerated().map { index, name in
      let subjectClass = SubjectClass.allCases[index % SubjectClass.allCases.count]
      while true {
        let subject = Subject(subjectClass, .random(&random))
        if !Withheld.contains(subject) { return Named(name: name, value: subject) }
      }
    }
  }()

  public static func name(of subject: Subject) -> String? { all.first { $0.value == subject }?.name }
}

/// Words without a meaning, sprinkled over captions so that an unknown word does no harm.
public enum RareWord {
  public static let all = [
    "sbu", "szn", "zug", "vor", "qix", "wub", "jyf", "kep", "xol", "yab", "nuq", "vix", "gwo", "hep", "luz", "dax", "fim",
    "ojo", "urb", "zed", "cwm", "pyx", "ryn", "tov",
  ]
}

private func compounds(_ beginnings: [String], _ endings: [String]) -> [String] {
  beginnings.flatMap { beginning in endings.map { beginning + $0 } }
}
