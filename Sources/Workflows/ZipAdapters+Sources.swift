internal import Foundation
internal import Images
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Training

extension ZipAdapters {
  /// A LoRA with what it shows, as far as files say it.
  package struct Source {
    let side: Side
    let file: AdapterFile
    /// Everything that was read.
    package let inputs: [FileDigest]
    /// nil where the LoRA has to draw them itself.
    package let pictures: PictureSource.Content?
    /// What the LoRA was trained with.
    let prompts: [String]

    /// What it draws references of.
    var drawnPrompts: [String] { (pictures == nil ? prompts : []) + side.referencePrompts }

    /// - Parameter option: what gives the prompt on the command line.
    /// - Throws: `SettingError` where no prompt can be found; errors of files as they come.
    package init(_ side: Side, promptOption option: String) throws {
      self.side = side
      file = try AdapterFile(path: side.lora.path)
      let lora = try file.files.map(FileDigest.init)
      if let images = side.images {
        let content = try PictureSource(images, prompt: side.prompt).load(promptOption: option)
        (pictures, prompts, inputs) = (content, Array(content.distinctPrompts), lora + content.inputs)
      } else {
        (pictures, inputs) = (nil, lora)
        prompts = side.prompt.map { [$0.onOneLine] } ?? file.prompts
        guard !prompts.isEmpty else {
          throw SettingError(
            """
            \(side.lora.path): its metadata names no prompt that calls up what it has learnt; give it with --\(option), \
            for instance "a sbu dog" or "a house in szn style"
            """)
        }
      }
    }

    /// What tells it from another.
    var identity: [String] {
      [inputs[0].sha256, "\(side.lora.weight)"] + (pictures?.identity ?? []) + ["draws"] + drawnPrompts
    }

    /// Its training pictures, and what it draws itself: found in the folder if an earlier run has drawn it.
    func references(_ adapter: Adapter, by artist: inout ReferenceArtist) throws -> any ReferenceLatents {
      let name = Paths.name(Paths.stem(file.path))
      func drawn() throws -> SampledLatents {
        try artist.draw(adapter, prompts: drawnPrompts, identity: identity, with: name)
      }
      guard let pictures else { return try drawn() }
      let cache = try pictures.cache(artist.model, artist.size, of: "pictures of \(name)", progress: artist.progress)
      return drawnPrompts.isEmpty ? cache : JoinedReferences([cache, try drawn()])
    }

    /// What is likely not to be meant.
    static func doubts(about sources: [Self], promptOptions: [String], jointPrompts: [String]) -> [String] {
      var doubts: [String] = []
      for (source, option) in zip(sources, promptOptions) where source.pictures == nil && source.side.prompt == nil {
        guard source.file.promptsAreTags else { continue }
        doubts.append(
          "\(source.file.path): its prompt is taken to be its most frequent tag, \"\(source.prompts[0])\"; give what calls it up with --\(option)"
        )
      }
      for (index, source) in sources.enumerated() {
        if let twin = sources[..<index].first(where: { $0.inputs[0].sha256 == source.inputs[0].sha256 }) {
          doubts.append("\(twin.file.path) and \(source.file.path) are the same LoRA")
        }
      }
      func words(_ prompts: [String]) -> OrderedSet<String> {
        OrderedSet(prompts.flatMap { $0.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init) })
      }
      for prompt in jointPrompts {
        for (index, source) in sources.enumerated() {
          let others = words(sources.indices.filter { $0 != index }.flatMap { sources[$0].prompts })
          let own = words(source.prompts).subtracting(others)
          guard !own.isEmpty, own.isDisjoint(with: words([prompt])) else { continue }
          doubts.append(
            "--joint-prompt \"\(prompt)\" has none of the words that \(source.file.path) was trained with and no other: "
              + own.joined(separator: ", "))
        }
      }
      return doubts
    }
  }

  /// With the prompts that files have told, for the record.
  func settled(for sources: [Source]) -> ZipAdapters {
    var settled = self
    func prompt(_ source: Source) -> String? {
      source.side.prompt ?? (source.pictures == nil && source.prompts.count == 1 ? source.prompts[0] : nil)
    }
    (settled.subject.prompt, settled.style.prompt) = (prompt(sources[0]), prompt(sources[1]))
    for index in others.indices { settled.others[index].prompt = prompt(sources[index + 2]) }
    return settled
  }
}
