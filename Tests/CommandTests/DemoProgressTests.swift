import Experiments
import Foundation
import Merging
import TestFiles
import Testing
import Torch
import Training
import Workflows

@Suite struct DemoProgressTests {
  @Test("what the demo draws and encodes says how long it takes")
  func timesLeft() throws {
    let folder = try TemporaryFolder()
    var demo = Demo(base: "\(repository)/Models/toybox", examples: "\(repository)/Examples/Toybox", output: folder("demo"))
    (demo.subjectTraining.steps, demo.styleTraining.steps, demo.zip.steps, demo.zip.draws) = (1, 1, 2, 1)
    (demo.priorPictures, demo.pictures, demo.steps) = (2, 6, 3)
    var timed: Set<String> = []
    let stop = #expect(throws: Interrupted.self) {
      _ = try demo.run { report in
        if report.secondsPerStep != nil { timed.insert(report.phase) }
        return report.phase != "drawing and judging" || report.step < 3
      }
    }
    #expect(stop?.phase == "drawing and judging" && stop?.step == 3)
    let expected = [
      "encoding pictures of the subject", "drawing \"a dog\"", "encoding pictures of \"a dog\"", "drawing and judging",
    ]
    #expect(timed.isSuperset(of: expected), "\(timed)")
  }
}
