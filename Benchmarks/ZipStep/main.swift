// Time and memory of one step of ZipLoRA at the size of real models; see Docs/SPEED.md.
internal import ArgumentParser
internal import Torch

Engine.keepFreedMemory()
ZipStep.main()
