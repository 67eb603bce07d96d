import Foundation
import Merging
import TestFiles
import TestSupport
import Testing
import Torch
import Workflows

/// Commands in several processes give what they give in one.
@Suite struct DistributedTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    for name in ["1", "2", "4", "stopped"] {
      try FileManager.default.createDirectory(atPath: folder(name), withIntermediateDirectories: true)
    }
  }

  /// Runs a command that has to succeed, and say its piece once.
  private func succeed(
    _ processes: Int, _ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let runs = try Binary.run(processes: processes, arguments)
    for run in runs { try #require(run.status == 0, "\(run.errors)", sourceLocation: sourceLocation) }
    #expect(!runs[0].output.isEmpty, sourceLocation: sourceLocation)
    #expect(runs.dropFirst().allSatisfy { $0.output.isEmpty && $0.errors.isEmpty }, sourceLocation: sourceLocation)
  }

  private func report(_ path: String) throws -> MergeReport {
    try JSONDecoder().decode(MergeReport.self, from: bytes(path))
  }

  @Test("zipping, with references that the processes draw in turns")
  func zipping() throws {
    let loras = try TrainedLoRAs.shared.get()
    func arguments(_ name: String) -> [String] {
      loras.zip(steps: 3, output: folder("\(name)/a.safetensors"))
        + [
          "--method", "paper", "--batch", "4", "--style-reference-prompt", "a mug", "--references", "3", "--reference-steps", "2",
        ]
    }
    let alone = try Binary.run(arguments("1"))
    try #require(alone.status == 0, "\(alone.errors)")
    for processes in [2, 4] {
      try succeed(processes, arguments("\(processes)"))
      try compareZipping(processes)
    }
  }

  private func compareZipping(_ processes: Int) throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: folder("1")).sorted()
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("\(processes)")).sorted() == names)

    let (one, many) = (try report(folder("1/a.report.json")), try report(folder("\(processes)/a.report.json")))
    #expect(many.records.count == 3)
    for (one, many) in zip(one.records, many.records) {
      let error = difference(Tensor(many.fidelity + [many.similarity]), Tensor(one.fidelity + [one.similarity]))
      #expect(error <= 2e-6, "the terms of step \(one.step) differ by \(error)")
    }
    // Adam makes whole steps of gradients that are nothing but rounding; these LoRAs leave none so small.
    let error = try difference(
      ofFile: folder("\(processes)/a.coefficients.safetensors"), folder("1/a.coefficients.safetensors"))
    #expect(error <= 1e-5, "the coefficients differ by \(error)")

    let record = try JSONDecoder().decode(
      RunRecord<ZipAdapters>.self, from: bytes(folder("\(processes)/a.safetensors.json")))
    #expect(record.processes == processes && record.settings.batch == 4)
  }

  @Test("training, with pictures of the class that the processes draw in turns")
  func training() throws {
    func arguments(_ name: String) -> [String] {
      [
        "train", "--base", base, "--images", "\(fixtures)/rgb-8.png", "--prompt", "a sbu dog", "--rank", "2", "--steps", "3",
        "--learning-rate", "1e-2", "--accumulation", "2", "--batch", "4", "--prior-prompt", "a dog", "--prior-count", "5",
        "--seed", "0", "--sample-prompt", "a dog", "--sample-every", "3", "--flip", "--noise-offset", "0.1", "--min-snr-gamma",
        "5",
        "--checkpoint-every", "2", "--output", folder("\(name)/a.safetensors"),
      ]
    }
    let alone = try Binary.run(arguments("1"))
    try #require(alone.status == 0, "\(alone.errors)")
    try succeed(2, arguments("2"))
    for name in (1...5).map({ "prior-000\($0).png" }) {
      #expect(try bytes(folder("2/a-prior/\(name)")) == bytes(folder("1/a-prior/\(name)")))
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("2/a-samples")) == ["step00003-1.png"])
    for file in ["a.safetensors", "a-step00002.safetensors"] {
      let error = try difference(ofFile: folder("2/\(file)"), folder("1/\(file)"))
      // Rounding, of which Adam has made more in the rarely moved elements of a factor that starts at zero.
      #expect(error <= 3e-4, "the largest error is \(error)")
    }
  }

  @Test("the first process is stopped, all stop; the same command goes on to the file of an uninterrupted run")
  func resuming() throws {
    let loras = try TrainedLoRAs.shared.get()
    func arguments(_ name: String) -> [String] {
      loras.zip(steps: 12, output: folder("\(name)/a.safetensors")) + ["--batch", "2"]
    }
    try succeed(2, arguments("2"))
    let stopped = try Binary.run(processes: 2, arguments("stopped"), interruptAfter: "zipping")
    #expect(stopped.map(\.status) == [130, 130], "\(stopped.map(\.errors))")
    #expect(stopped[0].errors.contains("a.state.safetensors, the same command continues from it"), "\(stopped[0].errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("stopped")) == ["a.state.safetensors"])
    try succeed(2, arguments("stopped"))
    #expect(try bytes(folder("stopped/a.safetensors")) == bytes(folder("2/a.safetensors")))
    #expect(!FileManager.default.fileExists(atPath: folder("stopped/a.state.safetensors")))
  }

  @Test("two processes share the jobs of an experiment, with the very results of one")
  func experiment() throws {
    try """
    base: \(repository)/Models/toybox
    examples: \(repository)/Examples/Toybox
    subjects: [cat]
    styles: [notebook]
    training:
      subject: {rank: 1, steps: 1, learning-rate: 1e-3, prior: 1}
      style: {rank: 1, steps: 1, learning-rate: 1e-3, seed: 5, prior: 1}
    sampling: {steps: 1, guidance: 1, batch: 2}
    pictures: 2
    other-pictures: 1
    reproduction-draws: 1
    rows:
      - {name: direct merge, merge: direct}
      - {name: zipped, zip: {steps: 1, learning-rate: 0.1}}
      - {name: joint, joint: {rank: 1, steps: 1, prior: 1}}

    """.write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    func arguments(_ name: String) -> [String] { ["experiment", folder("a.yaml"), "--output", folder("\(name)/out")] }
    let alone = try Binary.run(arguments("1"))
    try #require(alone.status == 0, "\(alone.errors)")

    // Stopped in the middle, it goes on with what is there.
    let stopped = try Binary.run(processes: 2, arguments("2"), interruptAfter: "experiment")
    #expect(stopped[0].status == 130 && stopped[1].status != 0, "\(stopped.map(\.errors))")
    try succeed(2, arguments("2"))
    let results = try bytes(folder("1/out/results.json"))
    #expect(try bytes(folder("2/out/results.json")) == results)

    // The command starts the others itself, and says what one of them said.
    try startsOthers(arguments("4"), results: folder("4/out/results.json"), expected: results)
  }

  private func startsOthers(_ arguments: [String], results: String, expected: Data) throws {
    let threads = ["OMP_NUM_THREADS": "2"]
    let stopped = try Binary.run(arguments + ["--processes", "2"], environment: threads, interruptAfter: "training")
    #expect(stopped.status == 130, "\(stopped.errors)")
    let done = try Binary.run(arguments + ["--processes", "2"], environment: threads)
    try #require(done.status == 0, "\(done.errors)")
    #expect(done.output.hasSuffix("/report.html\n"))
    #expect(try bytes(results) == expected)
  }

  @Test("a job that fails stops the processes of an experiment, and what it said is told whichever had it")
  func failingJob() throws {
    try Data("no picture".utf8).write(to: URL(filePath: folder("broken.png")))
    try """
    base: \(repository)/Models/toybox
    examples: \(repository)/Examples/Toybox
    subjects: [cat, dog]
    styles: [{name: broken, images: \(folder("broken.png")), prompt: a house in szn style, class: a house, phrase: in szn style}]
    training:
      subject: {rank: 1, steps: 5000, learning-rate: 1e-3}
      style: {rank: 1, steps: 5000, learning-rate: 1e-3}
    rows:
      - {name: direct merge, merge: direct}

    """.write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    let arguments = ["experiment", folder("a.yaml"), "--output", folder("out"), "--processes", "3"]
    let run = try Binary.run(arguments)
    #expect(run.status == 1)
    #expect(run.errors.contains("broken.png: "), "\(run.errors)")
    // A child that does not understand its command ends before it has joined.
    let strange = try Binary.run(["experiment", "--processes", "2", "--output=-x", "--", "-nothing.yaml"])
    #expect(strange.status == 1 && strange.errors.contains("-nothing.yaml"), "\(strange.errors)")
    let joined = try Binary.run(arguments, environment: LaunchEnvironment.onThisMachine(2)[1].variables)
    #expect(joined.status == 1)
    #expect(joined.errors.contains("--processes 3: this is one of several processes already"), "\(joined.errors)")
  }

  @Test func refusals() throws {
    let loras = try TrainedLoRAs.shared.get()
    let command = loras.zip(steps: 3, output: folder("1/a.safetensors"))
    let shared = try Binary.run(processes: 2, command + ["--batch", "3"])
    for run in shared {
      #expect(run.status == 1)
      #expect(run.errors.contains("--batch 3: expected a multiple of 2, as so many processes take equal parts of it"))
    }
    let half = try Binary.run(command, environment: ["RANK": "1"])
    #expect(half.status == 1)
    #expect(half.errors.contains("RANK is set and WORLD_SIZE is not; several processes need both"), "\(half.errors)")
  }

  @Test("when one process fails, it says why, and the others do not wait for it")
  func failure() throws {
    let loras = try TrainedLoRAs.shared.get()
    let command = loras.zip(steps: 3, output: folder("1/a.safetensors")) + ["--batch", "2"]
    let runs = try Binary.run(processes: 2, command, others: ["--style-prompt", "a", "--style", folder("nothing")])
    #expect(runs.map(\.status) == [1, 1])
    #expect(runs[1].errors.contains(folder("nothing")), "\(runs[1].errors)")
    #expect(runs[0].errors.contains("process 0: another process has ended or cannot be reached"), "\(runs[0].errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder("1")) == [])
  }
}
