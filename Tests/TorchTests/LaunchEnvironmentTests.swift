import Testing
import Torch

@Suite struct LaunchEnvironmentTests {
  private let plain = ["RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"]
  private let slurm = [
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[03-04,9],login1",
    "SLURM_JOB_ID": "1000", "SLURM_STEP_ID": "2", "SLURM_NTASKS": "8",
  ]

  @Test("processes of this machine are told who they are by the variables of torchrun")
  func processesOfThisMachine() throws {
    let environments = try LaunchEnvironment.onThisMachine(3)
    #expect(environments.map(\.rank) == [0, 1, 2] && environments.map(\.hostsStore) == [true, false, false])
    #expect(try environments.map { try LaunchEnvironment($0.variables) } == environments)
  }

  @Test func onlyProcess() throws {
    #expect(try LaunchEnvironment([:]) == nil)
    #expect(try LaunchEnvironment(["RANK": "0", "WORLD_SIZE": "1"]) == nil, "which needs no place to meet")
    #expect(try LaunchEnvironment(["WORLD_SIZE": "1"]) == nil, "and no number")
    #expect(try LaunchEnvironment(["SLURM_PROCID": "0", "SLURM_NTASKS": "8"]) == nil, "a batch script that starts no step")
  }

  @Test func plainVariables() throws {
    #expect(try LaunchEnvironment(plain) == LaunchEnvironment(rank: 1, size: 4, host: "10.0.0.7", port: 29500))
    let first = try #require(try LaunchEnvironment(plain.merging(["RANK": "0"]) { $1 }))
    #expect(first.hostsStore && first.localRank == nil)
  }

  @Test func torchrun() throws {
    let variables = [
      "RANK": "0", "LOCAL_RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2",
    ]
    let found = try #require(try LaunchEnvironment(plain.merging(variables) { $1 }))
    #expect(!found.hostsStore, "the agent does")
    #expect(found.attempt == 2 && found.localRank == 0)
  }

  @Test func stepOfSlurm() throws {
    let found = try #require(try LaunchEnvironment(slurm))
    #expect(found == LaunchEnvironment(rank: 5, size: 8, localRank: 1, host: "gpu03", port: 16384 + 31002 % 16384))
    let given = try LaunchEnvironment(slurm.merging(["MASTER_ADDR": "ib0", "MASTER_PORT": "4000"]) { $1 })
    #expect(given == LaunchEnvironment(rank: 5, size: 8, localRank: 1, host: "ib0", port: 4000))
  }

  @Test(
    "the first host of Slurm's lists",
    arguments: [
      ("node7", "node7"), ("a,b", "a"), ("n[001-004]", "n001"), ("n[5,7-9]", "n5"), ("rack[2-3]node[04-05],x", "rack2node04"),
    ])
  func hosts(list: String, first: String) throws {
    #expect(try LaunchEnvironment(slurm.merging(["SLURM_STEP_NODELIST": list]) { $1 })?.host == first)
  }

  @Test(
    "variables that do not go together",
    arguments: [
      (["RANK": "1"], "RANK is set and WORLD_SIZE is not; several processes need both, and one process needs neither"),
      (["WORLD_SIZE": "2"], "WORLD_SIZE is set and RANK is not"),
      (["WORLD_SIZE": "2", "RANK": "2"], "RANK is \"2\"; expected a whole number from 0 to 1"),
      (["WORLD_SIZE": "0", "RANK": "0"], "WORLD_SIZE is \"0\"; expected a whole number from 1 to 2147483647"),
      (["WORLD_SIZE": "two", "RANK": "0"], "WORLD_SIZE is \"two\""),
      (["WORLD_SIZE": "2", "RANK": "0"], "RANK is set and MASTER_ADDR is not"),
      (["WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a"], "RANK is set and MASTER_PORT is not"),
      (
        ["WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "70000"],
        "MASTER_PORT is \"70000\"; expected a whole number from 1 to 65535"
      ),
      (["SLURM_STEP_NUM_TASKS": "2"], "SLURM_STEP_NUM_TASKS is set and SLURM_PROCID is not"),
      (["SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"], "SLURM_PROCID is set and SLURM_STEP_NODELIST is not"),
      (["SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n[1-"], "expected hosts such as node[1-4]"),
    ])
  func halfSet(variables: [String: String], message: String) throws {
    let error = #expect(throws: LaunchError.self) { try LaunchEnvironment(variables) }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
  }

  @Test func eachProcessOfAMachineTakesAGPU() {
    let one = LaunchEnvironment(rank: 5, size: 8, localRank: 1, host: "a", port: 1)
    #expect(one.device(for: .cuda) == Device(.cuda, index: 1))
    #expect(one.device(for: Device(.cuda, index: 3)) == Device(.cuda, index: 3))
    #expect(one.device(for: .cpu) == .cpu)
    #expect(LaunchEnvironment(rank: 5, size: 8, host: "a", port: 1).device(for: .cuda) == .cuda)
  }
}
