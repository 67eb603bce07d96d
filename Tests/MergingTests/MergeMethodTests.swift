import Foundation
import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

/// What every row of `MergeMethods.all` has to do.
@Suite struct MergeMethodTests {
  let model = ToyModel()

  private static let names = MergeMethods.all.map(\.name)

  /// The method with everything kept, so that what is left is how it puts LoRAs together.
  private func whole(_ name: String) throws -> any MergeMethod {
    let method = try #require(MergeMethods.named(name))
    return method.settings["density"] == nil ? method : try method.setting(["density": 1])
  }

  private func merge(_ method: any MergeMethod, _ inputs: [MergeInput]) throws -> MergeResult {
    try method.merge(inputs, context: MergeContext(probe: model) { $0.record.step < 3 })
  }

  @Test("is described, and says where it is from", arguments: names)
  func description(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    #expect(!method.summary.isEmpty && method.reference.hasPrefix("https://"))
    #expect(Self.names.count { $0 == name } == 1)
    #expect(Set(method.settings.keys).isSubset(of: type(of: method).optionNames))
    // Its options survive as JSON.
    func encoded(_ method: some MergeMethod) throws -> (Data, Data) {
      let data = try JSONEncoder().encode(method)
      return (data, try JSONEncoder().encode(JSONDecoder().decode(type(of: method), from: data)))
    }
    let (first, second) = try encoded(method)
    #expect(
      try JSONSerialization.jsonObject(with: first) as? NSDictionary
        == JSONSerialization.jsonObject(with: second) as? NSDictionary)
  }

  @Test("every layer of every LoRA is accounted for once; those of one LoRA pass", arguments: names)
  func layers(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    let subject = model.adapter(1, paths: [ToyModel.query, ToyModel.key])
    let style = model.adapter(2, paths: [ToyModel.key, ToyModel.convolution])
    let (result, report) = try { ($0.adapter, $0.report) }(merge(method, [.init("c", subject), .init("s", style)]))
    let listed = report.layers.map(\.path) + report.merged.map(\.path) + report.alone.map(\.path) + report.summed
    #expect(Set(listed) == Set(result.factors.keys) && listed.count == result.factors.count)
    #expect(Set(listed + report.dropped) == Set(model.projections.keys))
    #expect(report.method == name && report.inputs.map(\.name) == ["c", "s"])
    for (path, factors) in result.factors {
      #expect(factors.weightShape == model.projections[path]!.weight.shape && factors.isFinite)
    }
    for alone in report.alone where alone.path != ToyModel.key {
      let source = alone.input == "c" ? subject : style
      #expect(difference(result.delta(alone.path)!, source.delta(alone.path)!) <= 1e-7)
    }
    let text = try JSONEncoder().encode(report)
    #expect(try JSONDecoder().decode(MergeReport.self, from: text) == report)
  }

  @Test("works on convolutions and on LoRAs of several ranks", arguments: names)
  func ranks(name: String) throws {
    let inputs = [MergeInput("c", model.adapter(1)), MergeInput("s", model.adapter(2, rank: 5))]
    guard name != "linear" else {
      let error = try #require(throws: MergeError.self) { try merge(LinearMerge(), inputs) }
      #expect(error.description.contains("to_q: the method linear needs equal ranks: c has 3, s has 5; use direct or svd"))
      return
    }
    let result = try merge(#require(MergeMethods.named(name)), inputs).adapter
    #expect(result.factors.values.allSatisfy { $0.isFinite && $0.norm > 0 })
    let kept: Set = name == "b-lora" ? [ToyModel.query, ToyModel.key] : Set(model.projections.keys)
    #expect(Set(result.factors.keys) == kept)
  }

  @Test("weights 1 and 0 give back the first LoRA", arguments: names.filter { !["ziplora", "b-lora"].contains($0) })
  func oneAndNothing(name: String) throws {
    let first = model.adapter(1)
    let inputs = [MergeInput("c", first), MergeInput("s", model.adapter(2), weight: 0)]
    let result = try merge(#require(MergeMethods.named(name)), inputs)
    for (path, factors) in first.factors { #expect(difference(result.adapter.delta(path)!, factors.delta()) <= 2e-7, "\(path)") }
  }

  @Test("the same seed gives the same bytes, another seed others", arguments: names)
  func determinism(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    func numbers(_ method: any MergeMethod) throws -> [[Float]] {
      try merge(method, model.pair.map { MergeInput($0.name, model.adapter($0.name == "style" ? 2 : 1)) })
        .adapter.factors.values.flatMap { [$0.down.contiguous().floats(), $0.up.contiguous().floats()] }
    }
    let first = try numbers(method)
    #expect(try numbers(method) == first)
    if type(of: method).optionNames.contains("seed") {
      #expect(try numbers(method.setting(["seed": 1])) != first)
    }
  }

  /// Why a method need not give the same in another order.
  private static let ordered = [
    "ziplora": "draws go by position", "dare": "draws go by position", "dare-ties": "draws go by position",
    "della": "draws go by position", "np-lora": "roles", "k-lora": "roles", "b-lora": "roles",
  ]

  @Test("the order of equals does not matter", arguments: names.filter { ordered[$0] == nil })
  func order(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    #expect(method.roles.isEmpty)
    let inputs = [
      MergeInput("a", model.adapter(1), weight: 0.7), MergeInput("b", model.adapter(2), weight: 0.4),
      MergeInput("c", model.adapter(3), weight: -0.2),
    ]
    let (forth, back) = (try merge(method, inputs).adapter, try merge(method, inputs.reversed()).adapter)
    for (path, factors) in forth.factors { #expect(difference(back.delta(path)!, factors.delta()) <= 3e-6, "\(path)") }
  }

  /// What else a LoRA merged with itself at 0.5 + 0.5 is, by method.
  private static let selfMerges = [
    // √½ A + √½ A is √2 A, and so is B.
    "linear": 2,
    // One of the two, at its weight.
    "k-lora": 0.5, "b-lora": 0.5,
    // ½ + ½ (1 − ⅓): the subject is wholly in the style's directions.
    "np-lora": 5.0 / 6,
  ]

  @Test("a LoRA merged with itself at 0.5 + 0.5 is itself", arguments: names.filter { $0 != "ziplora" })
  func itself(name: String) throws {
    let lora = model.adapter(1)
    let inputs = ["one", "two"].map { MergeInput($0, lora, weight: 0.5) }
    let result = try merge(whole(name), inputs)
    for (path, factors) in result.adapter.factors {
      #expect(difference(factors.delta(), lora.delta(path)! * Self.selfMerges[name, default: 1]) <= 3e-6, "\(name) \(path)")
    }
    #expect(result.report.merged.allSatisfy { $0.discardedEnergy < 1e-5 })
  }

  @Test("the wrong number of LoRAs is refused", arguments: names)
  func count(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    let error = try #require(throws: MergeError.self) { try merge(method, [MergeInput("c", model.adapter(1))]) }
    guard !method.roles.isEmpty else {
      #expect(error == .tooFew(1))
      return
    }
    let three = ["a", "b", "c"].map { MergeInput($0, model.adapter(1)) }
    let many = try #require(throws: MergeError.self) { try merge(method, three) }
    #expect(many.description == "the method \(name) merges 2 LoRAs, in the order subject, style; found 3")
  }

  @Test func optionsAreChecked() throws {
    func message(_ name: String, _ values: [String: Double]) throws -> String {
      let method = try #require(MergeMethods.named(name))
      return try #require(throws: MergeError.self) { _ = try method.setting(values) }.description
    }
    #expect(try message("ties", ["density": 0]) == "density 0.0: expected a number above 0 and at most 1")
    #expect(try message("svd", ["rank": 2.5]) == "rank 2.5: expected a whole number of 1 or more")
    #expect(try message("dare", ["seed": -1]) == "seed -1.0: expected a whole number of 0 to 9007199254740992")
    #expect(try message("np-lora", ["mu": .nan]) == "mu nan: expected 0 or more")
    #expect(try message("k-lora", ["alpha": 0]) == "alpha 0.0: expected a number above 0")
    #expect(try message("direct", ["rank": 4]) == "the method direct has no option rank; it has none")
    #expect(
      try message("della", ["mu": 1])
        == "the method della has no option mu; it has density, epsilon, rank, seed")
    #expect(
      try message("della", ["density": 0.9])
        == "epsilon 0.15: expected less than the density 0.9, and no more than 1 − 0.9")
    #expect(try #require(MergeMethods.named("della")).setting(["density": 1, "seed": 7]).settings["seed"] == 7)
  }

  @Test("the progress handler hears of every layer and can stop the merge")
  func progress() throws {
    struct Stop: Error {}
    var heard: [Int] = []
    _ = try SVDMerge().merge(model.pair, context: MergeContext(layers: { done, _ in heard.append(done) }))
    #expect(heard == [0, 1, 2, 3])
    #expect(throws: Stop.self) {
      try SVDMerge().merge(model.pair, context: MergeContext(layers: { done, _ in if done == 1 { throw Stop() } }))
    }
  }

  @Test("a method that learns asks for a model")
  func probe() throws {
    for method in MergeMethods.all where method.needsProbe {
      let error = try #require(throws: MergeError.self) { try method.merge(model.pair, context: MergeContext()) }
      #expect(error.description.contains("needs the base model's predictions"))
    }
  }

  @Test("LoRAs without a common layer are put together by direct merge")
  func disjoint() throws {
    let inputs = [
      MergeInput("c", model.adapter(1, paths: [ToyModel.query])), MergeInput("s", model.adapter(2, paths: [ToyModel.key])),
    ]
    let result = try DirectMerge().merge(inputs, context: MergeContext())
    #expect(result.adapter.factors.keys == [ToyModel.query, ToyModel.key])
    #expect(result.report.layers.isEmpty && result.report.alone.map(\.input) == ["c", "s"])
  }

  @Test("direct merge is the sum, and half a LoRA twice is the LoRA")
  func direct() throws {
    let inputs = [MergeInput("c", model.adapter(1), weight: 0.7), MergeInput("s", model.adapter(2, rank: 2), weight: -1.2)]
    let merged = try DirectMerge().merge(inputs, context: MergeContext()).adapter
    for (path, factors) in merged.factors {
      let sum = inputs[0].adapter.delta(path, dtype: .float64)! * 0.7 - inputs[1].adapter.delta(path, dtype: .float64)! * 1.2
      #expect(difference(factors.delta(dtype: .float64), sum) <= 3e-7, "\(path)")
    }
    let halves = [MergeInput("a", model.adapter(1), weight: 0.5), MergeInput("a", model.adapter(1), weight: 0.5)]
    let whole = try DirectMerge().merge(halves, context: MergeContext()).adapter
    for (path, factors) in whole.factors {
      #expect(difference(factors.delta(), model.adapter(1).delta(path)!) <= 3e-7, "\(path)")
    }
  }
}
