// Time and memory at the size of real models; see Docs/SPEED.md.
internal import ArgumentParser

ModelBenchmark.main()
