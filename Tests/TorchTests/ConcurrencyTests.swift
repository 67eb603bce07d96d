import Synchronization
import Testing
import Torch

/// `Engine.atOnce`.
@Suite struct ConcurrencyTests {
  @Test("each number once and in order, with its part of the threads and without a graph", arguments: [1, 2, 3])
  func numbers(width: Int) throws {
    let threads = Engine.threads
    let weight = Tensor.ones([2, 2]).requiringGrad()
    var heard: [Int] = []
    let results = try Engine.atOnce(7, width: width, progress: { heard.append($0) }) { number in
      (number, Engine.threads, (weight * Double(number)).requiresGrad)
    }
    #expect(results.map(\.0) == Array(0..<7))
    #expect(results.allSatisfy { !$0.2 })
    // The last one is alone where three or two are at once, and has all threads.
    #expect(results.dropLast().allSatisfy { $0.1 == max(1, threads / width) } && results[6].1 == threads)
    #expect(heard == Array(0...7))
    #expect(Engine.threads == threads && (weight * 2).requiresGrad)
  }

  @Test("numbers are worked on at the same time")
  func together() throws {
    let there = Mutex(0)
    let met = try Engine.atOnce(2, width: 2) { _ in
      there.withLock { $0 += 1 }
      let end = ContinuousClock.now + .seconds(60)
      while there.withLock({ $0 }) < 2, ContinuousClock.now < end {}
      return there.withLock { $0 } == 2
    }
    #expect(met == [true, true])
  }

  @Test("a number's part of the threads is its own, whatever another one asks for meanwhile")
  func ownThreads() throws {
    let threads = Engine.threads
    let asked = max(2, threads)
    let step = Mutex(0)
    func wait(for count: Int) {
      let end = ContinuousClock.now + .seconds(60)
      while step.withLock({ $0 }) < count, ContinuousClock.now < end {}
    }
    let found = try Engine.atOnce(2, width: 2) { number in
      // The first asks once the second has begun, which looks once the first has asked.
      if number == 0 {
        wait(for: 1)
        Engine.threads = asked
        step.withLock { $0 = 2 }
      } else {
        step.withLock { $0 = 1 }
        wait(for: 2)
      }
      return Engine.threads
    }
    #expect(found == [asked, max(1, threads / 2)])
    #expect(Engine.threads == threads)
  }

  @Test("the failure of the smallest number is thrown, be it the body's or libtorch's")
  func failures() {
    struct Failure: Error, Equatable { let number: Int }
    #expect(throws: Failure(number: 2)) {
      try Engine.atOnce(6, width: 4) { if $0 >= 2 { throw Failure(number: $0) } }
    }
    let error = #expect(throws: TorchError.self) {
      try Engine.atOnce(4, width: 4) { Tensor.zeros([2, 3]).matmul(Tensor.zeros([$0 == 1 ? 4 : 3, 5])) }
    }
    #expect(error?.description.contains("float32[4, 5]") == true)
  }
}
