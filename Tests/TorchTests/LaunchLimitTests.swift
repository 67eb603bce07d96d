import Testing
import Torch

/// More processes than libtorch can count are told, and no trap.
@Suite struct LaunchLimitTests {
  @Test(arguments: [("WORLD_SIZE", "RANK"), ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")])
  func tooManyProcesses(size: String, rank: String) throws {
    for count in ["2147483648", "9223372036854775807"] {
      let error = #expect(throws: LaunchError.self) { try LaunchEnvironment([size: count, rank: "0"]) }
      #expect(error?.description == "\(size) is \"\(count)\"; expected a whole number from 1 to 2147483647")
    }
  }

  @Test func asManyAsCanBeCounted() throws {
    let variables = ["WORLD_SIZE": "2147483647", "RANK": "2147483646", "MASTER_ADDR": "a", "MASTER_PORT": "1"]
    let found = try LaunchEnvironment(variables)
    #expect(found?.size == 2_147_483_647 && found?.rank == 2_147_483_646)
  }
}
