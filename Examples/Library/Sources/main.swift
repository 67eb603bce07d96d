// Zips two LoRAs with the library: zip-example BASE SUBJECT.safetensors PICTURES PROMPT STYLE.safetensors PICTURES PROMPT JOINT-PROMPT OUTPUT
import Foundation
import Torch
import Training
import Workflows

let arguments = CommandLine.arguments
guard arguments.count == 10 else {
  print("expected a base, a LoRA with its pictures and its prompt, another one, a prompt of both, and an output")
  exit(64)
}
let zip = ZipAdapters(
  base: BaseModel(arguments[1], dtype: .float32),
  subject: .init(lora: WeightedFile(arguments[2]), images: arguments[3], prompt: arguments[4]),
  style: .init(lora: WeightedFile(arguments[5]), images: arguments[6], prompt: arguments[7]),
  jointPrompts: [arguments[8]], output: AdapterOutput(arguments[9]))
do {
  let outcome = try zip.run { report in
    print(report.phase, report.step, report.total)
    return true  // false saves the state and stops
  }
  print(outcome.lora)
} catch {
  // Errors are made for users.
  print(error)
  exit(1)
}
