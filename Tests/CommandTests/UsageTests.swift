import Testing
import Torch

/// Options that make no sense: exit code 64, a clear message, no result.
@Suite struct UsageTests {
  static let train = ["train", "--base", base, "--images", "dog", "--prompt", "a dog", "--output", "dog.safetensors"]
  static let generate = ["generate", "--base", base, "--prompt", "a dog", "--output", "dog.png"]
  static let zip = [
    "zip", "--base", base, "--subject", "a.safetensors", "--style", "b.safetensors", "--output", "zip.safetensors",
  ]
  static let resize = ["resize", "a.safetensors", "--output", "b.safetensors"]

  static let merge = ["merge", "--lora", "a.safetensors", "--lora", "b.safetensors:0.5", "--output", "both.safetensors"]

  static let evaluate = ["evaluate", "--pictures", "out", "--prompt", "a dog"]

  static let cases: [(arguments: [String], message: String)] = [
    (train + ["--rank", "0"], "--rank 0: expected 1 or more"),
    (train + ["--alpha=-1"], "--alpha -1.0: expected a number above 0"),
    (train + ["--steps", "0"], "--steps 0: expected 1 or more"),
    (train + ["--learning-rate", "nan"], "--learning-rate nan: expected a number above 0"),
    (train + ["--batch", "0"], "--batch 0: expected 1 or more"),
    (train + ["--accumulation", "0"], "--accumulation 0: expected 1 or more"),
    (train + ["--targets", "attention+nose"], "does not name layers; expected kinds joined by +"),
    (train + ["--sample-every", "5"], "--sample-every needs --sample-prompt"),
    (train + ["--checkpoint-every", "0"], "--checkpoint-every 0: expected 1 or more"),
    (
      train + ["--steps", "50", "--checkpoint-every", "50"],
      "--checkpoint-every 50: expected less than the 50 steps, after which --output is written anyway"
    ),
    (train + ["--text-parts", "0"], "--text-parts 0: expected 1 or more"),
    (train + ["--min-snr-gamma", "0"], "--min-snr-gamma 0.0: expected a number above 0"),
    (train + ["--noise-offset=-1"], "--noise-offset -1.0: expected a number above 0"),
    (
      train + ["--start-from", "a.safetensors", "--rank", "4", "--targets", "ff"],
      "--rank, --targets: the LoRA of --start-from has its own; leave this out"
    ),
    (
      train + ["--start-from", "dog.safetensors"],
      "--output dog.safetensors: expected another file than those that the training reads"
    ),
    (generate + ["--guidance-rescale", "2"], "--guidance-rescale 2.0: expected a number from 0 to 1; 0.7 is usual"),
    (
      generate + ["--guidance-rescale", "0.5", "--guidance", "1"],
      "--guidance 1.0: expected more than 1, as --guidance-rescale does nothing without guidance"
    ),
    (train + ["--prior-count", "5"], "--prior-count needs pictures or a prompt"),
    (
      train + ["--prior-weight", "0", "--prior-images", "x"],
      "--prior-weight 0.0: expected a number above 0, as pictures of the class would count for nothing; or none of them"
    ),
    (generate + ["--output", ""], "--output: found nothing; expected FILE.png or a folder"),
    (generate + ["--base", ""], "--base: found nothing; expected a folder, a safetensors file or an id of the Hugging Face hub"),
    (zip + ["--lambda", "-1"], "lambda -1.0: expected 0 or more"),
    (train + ["--save-every=-1"], "--save-every -1.0: expected 0 or more"),
    (train + ["--dialect", "french"], "Please provide one of 'kohya', 'diffusers' or 'peft'"),
    (train + ["--threads", "0"], "--threads 0: expected 1 or more"),
    (train + ["--device", "toaster"], "'toaster' is invalid for '--device <device>'"),
    (train + ["--output", "dog.ckpt"], "--output dog.ckpt: expected a name that ends in .safetensors"),
    (["train", "--images", "dog", "--output", "dog.safetensors"], "Missing expected argument '--base <dir|file|id>'"),
    (generate + ["--sampler", "best"], "Please provide one of 'ddim', 'euler', 'euler-ancestral' or 'dpm++2m'"),
    (
      generate + ["--combine", "predictions", "--lora", "a.safetensors"],
      "--combine predictions: found 1 LoRA of weight 1; expected two or more, of weights from 0 on, not all 0"
    ),
    (generate + ["--batch", "0"], "--batch 0: expected 1 or more"),
    (generate + ["--count", "0"], "--count 0: expected 1 or more"),
    (generate + ["--count", "2"], "--output dog.png: 2 pictures do not fit in one file; name a folder"),
    (generate + ["--output", "dog.JPG"], "--output dog.JPG: expected a name that ends in .png, or a folder"),
    (generate + ["--count", "9223372036854775807"], "--count 9223372036854775807: expected 10000000 or less"),
    (generate + ["--width", "1000000"], "--width 1000000: expected 32768 or less"),
    (train + ["--batch", "1000000000"], "--batch 1000000000: expected 65536 or less"),
    (train + ["--rank", "100000"], "--rank 100000: expected 16384 or less"),
    (train + ["--save-every", "1e300"], "--save-every 1e+300: expected a number of seconds up to 1e9"),
    (zip + ["--method", "joint"], "--method joint: found no prompt of both; give one with --joint-prompt"),
    (zip + ["--draws", "9223372036854775807"], "draws 9223372036854775807: expected 65536 or less"),
    (zip + ["--output", "a.safetensors"], "--output a.safetensors: expected another name than those of the LoRAs"),
    (zip + ["--subject-weight", "nan"], "--subject-weight nan: expected a finite number"),
    (
      ["reweight", "a.safetensors", "--output", "b.safetensors", "--style-weight", "nan"],
      "--style-weight nan: expected a finite number"
    ),
    (["toybox", "sheet", "--output", "a.jpg"], "--output a.jpg: expected a name that ends in .png"),
    (["toybox", "sheet", "--output", "a.png", "--count", "20000"], "--count 20000, --columns 12: expected 1 to 10000 of each"),
    (["toybox", "train", "--output", "/dev/null"], "--output /dev/null: found a file, expected a folder or a new name"),
    (generate + ["--steps", "0"], "--steps 0: expected 1 or more"),
    (generate + ["--guidance=-1"], "--guidance -1.0: expected 0 or more"),
    (generate + ["--width", "0"], "--width 0: expected 1 or more"),
    (generate + ["--dtype", "int8"], "Please provide one of 'float32', 'bfloat16' or 'float16'"),
    (
      zip + ["--lora", "a", "--lora", "b", "--lora-prompt", "a dog"],
      "--lora-prompt is given 1 times and --lora 2 times; give it once for each --lora, in the same order"
    ),
    (["inspect", "a", "b", "--header"], "--header looks at no numbers, and two files are compared by theirs; give one file"),
    (zip + ["--references", "0"], "--references 0: expected 1 or more"),
    (zip + ["--memory", "0"], "--memory 0.0: expected a number above 0"),
    (
      train + ["--dtype", "float16"],
      "--dtype float16: expected bfloat16 or float32, as the gradients of a training vanish in float16"
    ),
    (zip + ["--dtype", "float16", "--fidelity", "squared"], "--dtype float16: expected bfloat16 or float32, as gradients of"),
    (train + ["--memory", "nan"], "--memory nan: expected a number above 0"),
    (
      zip + ["--start", "0.5"],
      "--start is of other ways than the closed form; give --method paper or joint with it"
    ),
    (zip + ["--joint-prompt", " "], "--joint-prompt: found nothing; expected a prompt that calls up all LoRAs, such as"),
    (zip + ["--method", "magic"], "'closed-form', 'joint' or 'paper'"),
    (zip + ["--draws", "0"], "--draws 0: the closed form is solved for its draws; give at least 1, or --method paper"),
    (zip + ["--refine=-1"], "steps -1: expected 0 or more"),
    (zip + ["--lambda=-1"], "lambda -1.0: expected 0 or more"),
    (zip + ["--patience", "0"], "patience 0: expected 1 or more"),
    (zip + ["--similarity", "sine"], "'dot', 'mean-dot', 'cosine'"),
    (merge, "Missing expected argument '--method <name>'"),
    (merge + ["--method", "zip"], "--method zip: expected one of direct, svd, linear, prune, ties, dare, dare-ties, della,"),
    (merge + ["--method", "ziplora"], "it looks at pictures: use ziplora zip"),
    (merge + ["--method", "direct", "--output", "a.safetensors"], "--output a.safetensors: expected another name"),
    (merge + ["--method", "direct", "--rank", "4"], "the method direct has no option rank; it has none"),
    (merge + ["--method", "svd", "--rank", "0"], "--rank 0.0: expected a whole number of 1 or more"),
    (merge + ["--method", "ties", "--density", "2"], "--density 2.0: expected a number above 0 and at most 1"),
    (merge + ["--method", "ties", "--seed", "2"], "the method ties has no option seed; it has density, rank"),
    (merge + ["--method", "dare", "--seed=-2"], "--seed -2.0: expected a whole number of 0"),
    (merge + ["--method", "della", "--epsilon", "0.4"], "--epsilon 0.4: expected less than the density 0.7"),
    (merge + ["--method", "direct", "--lora", "c:nan"], "--lora c: nan: expected a finite number"),
    (
      merge + ["--method", "np-lora", "--lora", "c"],
      "--lora is given 3 times; the method np-lora takes 2: subject, style"
    ),
    (
      ["merge", "--method", "svd", "--lora", "a", "--output", "b.safetensors"],
      "--lora is given 1 time; the method svd takes two or more"
    ),
    (["reweight", "a.safetensors", "--output", "b.safetensors"], "no weight is given; expected --subject-weight,"),
    (["reweight", "a.safetensors", "--style-weight", "inf", "--output", "b.safetensors"], "expected a finite number"),
    (
      ["reweight", "a.safetensors", "--layer-weight", "mid_block", "--output", "b.safetensors"],
      "\"mid_block\": expected a part of layers' paths and a number, such as up_blocks.0.attentions.1=0.5"
    ),
    (
      ["reweight", "a.safetensors", "--layer-weight", "mid_block=nan", "--output", "b.safetensors"],
      "--layer-weight mid_block: nan: expected a finite number"
    ),
    (["inspect", "a", "b", "c"], "3 files; expected one, or two to compare"),
    (["inspect"], "Missing expected argument '<file> ...'"),
    (resize, "give either --rank or --energy"),
    (resize + ["--rank", "4", "--energy", "0.9"], "give either --rank or --energy"),
    (resize + ["--rank", "0"], "--rank 0: expected 1 or more"),
    (resize + ["--energy", "1.5"], "--energy 1.5: expected a share above 0, at most 1"),
    (["convert", "a.safetensors", "--output", "b.ckpt"], "--output b.ckpt: expected a name that ends in .safetensors"),
    (
      ["convert", "a.safetensors", "--output", "b.safetensors", "--to", "comfyui"],
      "Please provide one of 'kohya', 'diffusers' or 'peft'"
    ),
    (
      ["convert", "a.safetensors", "--output", "b.safetensors", "--rank-limit", "0"], "--rank-limit 0: expected 1 or more"
    ),
    (evaluate, "no model to judge with; give --clip (such as openai/clip-vit-large-patch14) for text and style, --dino"),
    (evaluate + ["--dino", "dino"], "--subject-images and --dino need each other"),
    (evaluate + ["--clip", "clip", "--subject-images", "dog"], "--subject-images and --dino need each other"),
    (
      evaluate + ["--dino", "dino", "--subject-images", "dog", "--style-images", "ink.png"],
      "--style-images needs --clip, whose embeddings are compared"
    ),
    (evaluate + ["--clip", "clip", "--threads", "0"], "--threads 0: expected 1 or more"),
    (["evaluate", "--clip", "clip"], "Missing expected argument '--pictures <dir|file>'"),
    (["draw"], "Unexpected argument 'draw'"),
  ]

  @Test(arguments: cases)
  func isToldInOneMessage(_ arguments: [String], _ message: String) throws {
    let run = try Binary.run(arguments)
    #expect(run.status == 64)
    #expect(run.output == "")
    #expect(run.errors.hasPrefix("Error: "))
    // Long messages are broken at spaces.
    #expect(run.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ").contains(message), "\(run.errors)")
  }

  @Test(
    "a device that is not there is refused before any work", .disabled(if: Device.cuda.isAvailable, "this machine has one"),
    arguments: [train, generate, zip, evaluate + ["--clip", "clip"]])
  func missingDevice(_ arguments: [String]) throws {
    try isToldInOneMessage(
      arguments + ["--device", "cuda"], "--device cuda: this build of libtorch or this machine has none; use cpu")
  }
}
