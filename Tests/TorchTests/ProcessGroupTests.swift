import TestSupport
import Testing
import Torch

/// Groups whose processes are threads (`inGroup`).
@Suite struct ProcessGroupTests {
  /// What one process finds.
  private struct Found: Sendable {
    var sums: [[Double]] = []
    var square: [Double] = []
    var copy: [Double] = []
    var numbers: [Double] = []
    var first: [Int] = []
    var nothing: [Int] = []
    var holds: [Bool] = []
    var part: [Int] = []
    var turns: [Int] = []
  }

  private func find(_ processes: ProcessGroup) throws -> Found {
    let rank = Double(processes.rank)
    var found = Found()
    // Of several shapes and types, one of them a view, and one too large to go with the others.
    let square = Tensor.full([3, 3], rank + 1)
    let tensors = [
      Tensor([rank, 10 * rank]), square.transposed().narrow(0, from: 1, count: 2), Tensor.full([3], 0.5, dtype: .bfloat16),
      Tensor.full([(1 << 23) + 5], rank),
    ]
    try processes.sum(tensors)
    found.sums = [tensors[0].doubles(), tensors[2].doubles(), [tensors[3].max().item()]]
    found.square = square.doubles()
    let copy = Tensor([rank + 3, 7])
    try processes.broadcast([copy])
    found.copy = copy.doubles()
    found.numbers = try processes.sum([1, rank])
    found.first = try processes.first([9, processes.rank])
    found.nothing = try processes.first(processes.isFirst ? [] : [1])
    found.holds = [try processes.all(true), try processes.all(processes.isFirst), try processes.first(processes.isFirst)]
    found.part = Array(processes.part(of: 4))
    found.turns = processes.turns(of: 3)
    return found
  }

  @Test func sumsAndCopies() throws {
    let found = try inGroup(of: 2) { try find($0) }
    for (rank, found) in found.enumerated() {
      let own = Double(rank) + 1
      #expect(found.sums == [[1, 10], [1, 1, 1], [1]])
      #expect(found.square == [own, 3, 3, own, 3, 3, own, 3, 3], "the rest is left alone")
      #expect(found.copy == [3, 7])
      #expect(found.numbers == [2, 1])
      #expect(found.first == [9, 0] && found.nothing == [])
      #expect(found.holds == [true, false, true])
      #expect(found.part == [[0, 1], [2, 3]][rank])
      #expect(found.turns == [[0, 2], [1]][rank])
    }
  }

  @Test func aloneNothingChanges() throws {
    let found = try find(ProcessGroup())
    #expect(found.sums == [[0, 0], [0.5, 0.5, 0.5], [0]] && found.square == Array(repeating: 1, count: 9))
    #expect(found.copy == [3, 7] && found.numbers == [1, 0] && found.first == [9, 0] && found.nothing == [])
    #expect(found.holds == [true, true, true] && found.part == [0, 1, 2, 3] && found.turns == [0, 1, 2])
    let alone = ProcessGroup()
    #expect(try alone.claim("a") && alone.lines(on: "b").isEmpty)
  }

  @Test func oneOfThreeClaims() throws {
    let found = try inGroup(of: 3) { processes in
      let own = try (0..<20).filter { try processes.claim("job \($0)") }
      for key in own { try processes.post("\(key)", on: "done") }
      try processes.barrier()
      let again = try processes.claim("job 3")
      return (own: own, done: try processes.lines(on: "done"), nothing: try processes.lines(on: "nothing"), again: again)
    }
    #expect(found.flatMap(\.own).sorted() == Array(0..<20))
    #expect(found.allSatisfy { $0.done.compactMap(Int.init).sorted() == Array(0..<20) && $0.nothing.isEmpty })
    #expect(found.map(\.again) == found.map { $0.own.contains(3) }, "who has claimed it has it still")
  }

  @Test func whoIsLeftAloneSaysSo() throws {
    let found = try inGroup(of: 2) { processes in
      guard processes.isFirst else { return "" }
      do {
        _ = try processes.sum([1])
        return "it went on"
      } catch {
        return "\(error)"
      }
    }
    #expect(found[0].contains("process 0: another process has ended or cannot be reached"), "\(found[0])")
  }

  @Test("what has failed is not exchanged, and the others are not left with half of it")
  func failedOperation() throws {
    let found = try inGroup(of: 2) { processes in
      do {
        try withTorchErrors {
          let tensor = processes.isFirst ? Tensor.zeros([2]) + Tensor.zeros([3]) : Tensor.zeros([3])
          try processes.sum([tensor])
        }
        return ""
      } catch {
        return "\(error)"
      }
    }
    #expect(found[0].contains("aten::add"), "\(found[0])")
    #expect(found[1].contains("process 1: another process has ended"), "\(found[1])")
  }
}
