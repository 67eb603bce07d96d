import Evaluation
import Experiments
import Foundation
import Merging
import OrderedCollections
import TestFiles
import Testing
import Training
import Workflows

/// The demo as a library user would run it, as small as can be.
@Suite struct DemoTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func demo(subject: String = "dog", overwrite: Bool = false) -> Demo {
    var demo = Demo(
      base: "\(repository)/Models/toybox", examples: "\(repository)/Examples/Toybox", output: folder("demo"), subject: subject,
      overwrite: overwrite)
    (demo.subjectTraining.steps, demo.styleTraining.steps, demo.zip.steps, demo.zip.draws) = (1, 1, 2, 1)
    (demo.priorPictures, demo.pictures, demo.steps) = (1, 6, 1)
    return demo
  }

  @Test("leaves a report, pictures, figures and LoRAs; a stopped one goes on, with the same settings alone")
  func wholeStory() throws {
    let stop = #expect(throws: Interrupted.self) {
      _ = try demo().run { $0.phase != "zipping" }
    }
    #expect(stop?.phase == "zipping" && stop?.step == 1)
    let names = { try FileManager.default.contentsOfDirectory(atPath: folder("demo")).sorted() }
    #expect(try names() == ["style.state.safetensors", "subject.state.safetensors"])
    let foreign = #expect(throws: StateError.self) { _ = try demo(subject: "cat").run { _ in true } }
    #expect(foreign?.path == folder("demo/subject.state.safetensors"))

    var phases: Set<String> = []
    let results = try demo().run {
      phases.insert($0.phase)
      return true
    }
    #expect(!phases.contains { $0.hasPrefix("training") }, "both are trained already: \(phases)")
    #expect(Array(results.rows.keys) == ["subject alone", "style alone", "direct merge", "ziplora"])
    #expect(results.rows.values.allSatisfy { $0.estimates.allSatisfy { $0.mean.isFinite } })
    #expect(
      try names() == [
        "direct-merge.safetensors", "grid.png", "report.html", "results.json", "run.json", "style-alone.safetensors",
        "subject-alone.safetensors", "ziplora.safetensors",
      ])

    let error = #expect(throws: (any Error).self) { _ = try demo().run { _ in true } }
    #expect(error.map { "\($0)".contains("report.html") } == true, "\(String(describing: error))")
    _ = try demo(overwrite: true).run { _ in true }
    var few = demo()
    few.pictures = 5
    #expect(throws: SettingError.self) { try few.validate() }
  }
}
