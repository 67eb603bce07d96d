// Time and memory of one step of ZipLoRA at the size of real models; see Docs/SPEED.md.
ZipStep.main()
