# Each target first sets up what it needs; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help bootstrap build example test test-bootstrap demo format lint docs goldens check-consumers bench bench-convergence bench-growth bench-svd
.PHONY: reproduce-quick reproduce
.PHONY: fuzzer fuzz fuzz-corpus clean distclean

# Where the demo writes its report.
DEMO_OUTPUT ?= demo

# Where the experiments keep everything; the same command goes on with what is there.
REPRODUCE_OUTPUT ?= runs

# How many processes share an experiment: one for each core, as small models leave idle most of what they get of several. Each
# takes half a GiB of memory.
PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((n < 8 ? n : 8)))

# What `make bench` measures, how often it takes turns, and the Python with torch and diffusers (`make goldens` makes one), which
# `make check-consumers` takes, too.
BENCH_CASES ?=
BENCH_ROUNDS ?= 2
BENCH_PYTHON ?= .venv-goldens/bin/python

# What `make bench-convergence` compares: direct merge, the paper's updates, the closed form, and it with 5 updates by sign, and with 8
# and 30 of Adam.
closed_form := closed=1,cosine=1
CONVERGENCE_WAYS ?= steps=0 steps=100,rate=0.01 $(closed_form),draws=8,steps=0 $(closed_form),draws=8,steps=5,sign=1,rate=0.1 \
  $(closed_form),draws=8,steps=8,rate=0.05 $(closed_form),draws=15,steps=30,rate=0.05

# How long `make fuzz` runs, and in how many processes.
FUZZ_SECONDS ?= 600
FUZZ_JOBS ?= 1

libtorch := $(or $(LIBTORCH),$(CURDIR)/.libtorch)
export PKG_CONFIG_PATH := $(CURDIR)/.libtorch/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))

# One configuration for everything, and tests without @testable, so that no target builds again what another has built.
# The rpath stands here because SwiftPM takes none from a pkg-config file.
swift_flags := --configuration release -Xlinker -rpath -Xlinker "$(libtorch)/lib"
swift_sources := Package.swift Sources Tests Benchmarks Fuzz Examples/Library/Package.swift Examples/Library/Sources

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## check Swift, install the image libraries, fetch libtorch (LIBTORCH=/folder uses that one)
	@Scripts/bootstrap.sh

build: bootstrap ## build the ziplora command and the library
	swift build $(swift_flags)

# Where this package itself is built, so that nothing is built twice. There SwiftPM takes what it has planned for one package for the
# other's, and finds no target of its name.
example: build ## build a package that depends on this one (Examples/Library)
	rm -f .build/*/release/description.json
	swift build --package-path Examples/Library --scratch-path .build $(swift_flags) --product zip-example
	rm -f .build/*/release/description.json

test: test-bootstrap build ## run all tests (TEST_FILTER=Suite: these)
	swift test $(swift_flags) --disable-testable-imports --disable-xctest $(if $(TEST_FILTER),--filter "$(TEST_FILTER)")

test-bootstrap: ## run the tests of the bootstrap alone
	@Tests/Bootstrap/test_bootstrap.sh

demo: build ## train, zip and compare on the shipped pictures; writes demo/report.html (DEMO_OUTPUT=folder: there)
	.build/release/ziplora demo --output "$(DEMO_OUTPUT)" --overwrite

reproduce-quick: build ## the main table for four pairs, in four to eleven minutes on two cores (Docs/RESULTS.md)
	.build/release/ziplora experiment Experiments/quick.yaml --output "$(REPRODUCE_OUTPUT)/quick" --processes $(PROCESSES)

reproduce: build ## the paper's comparison for 32 pairs; hours, goes on where it was stopped (Docs/RESULTS.md)
	.build/release/ziplora experiment Experiments/paper.yaml --output "$(REPRODUCE_OUTPUT)/paper" --processes $(PROCESSES)

format: ## format the Swift sources in place
	swift format --in-place --recursive --parallel $(swift_sources)

lint: ## check the format of the Swift sources; a warning is an error
	swift format lint --strict --recursive --parallel $(swift_sources)

docs: build ## build the documentation of every module as DocC; a link that leads nowhere is an error
	Scripts/docs.sh

goldens: ## make the tests' reference values again, with pinned Python packages in .venv-goldens
	Scripts/goldens/run.sh

check-consumers: build ## let diffusers and PEFT load every kind of file that ziplora writes (Docs/Parity.md)
	"$(BENCH_PYTHON)" Scripts/check_consumers.py

bench: bootstrap ## time passes and steps of SDXL's size, in turns with PyTorch's (BENCH_CASES="unet:512:bfloat16", Docs/SPEED.md)
	ZIPLORA_BENCHMARKS=1 swift build $(swift_flags) --product ModelBenchmark
	"$(BENCH_PYTHON)" Scripts/bench.py --rounds $(BENCH_ROUNDS) $(BENCH_CASES)

bench-convergence: bootstrap ## how near zips of Toybox come to their objective, by ways and passes; after make reproduce (Docs/SPEED.md)
	ZIPLORA_BENCHMARKS=1 swift build $(swift_flags) --product ConvergenceBenchmark
	@for pair in dog:notebook robot:neon cat:canvas bird:comic; do for batch in 1 4; do \
	  .build/release/ConvergenceBenchmark --base Models/toybox --batch $$batch --held-out $$((128 / batch)) \
	    --subject "$(REPRODUCE_OUTPUT)/paper/loras/subject-$${pair%:*}.safetensors" \
	    --style "$(REPRODUCE_OUTPUT)/paper/loras/style-$${pair#*:}.safetensors" \
	    --subject-images "Examples/Toybox/subjects/$${pair%:*}" --style-images "Examples/Toybox/styles/$${pair#*:}" \
	    $(CONVERGENCE_WAYS) || exit 1; \
	done; done

bench-growth: bootstrap ## how time and memory of a zip step grow with pictures, rank, LoRAs and layers (Docs/SPEED.md)
	ZIPLORA_BENCHMARKS=1 swift build $(swift_flags) --product ModelBenchmark
	python3 Scripts/growth.py

bench-svd: bootstrap ## time merging a rank-64 pair at SDXL's layers by svd, beside a dense SVD (Docs/SPEED.md)
	ZIPLORA_BENCHMARKS=1 swift build $(swift_flags) --product SVDMergeBenchmark
	.build/release/SVDMergeBenchmark

# libFuzzer comes with the toolchain; its flag instruments the readers, so they are built apart from everything else. A file
# that takes 10 seconds or 2 GiB is a finding, as a crash is. Swift's own report of a crash would come before libFuzzer's.
fuzzer := SWIFT_BACKTRACE=enable=no OMP_NUM_THREADS=1 .build/fuzz/release/ReaderFuzzer -max_len=8192 -timeout=10 -rss_limit_mb=2048

fuzzer: bootstrap
	ZIPLORA_FUZZING=1 swift build $(swift_flags) --scratch-path .build/fuzz -Xswiftc -sanitize=fuzzer --product ReaderFuzzer
	@mkdir -p .build/fuzz/corpus

fuzz: fuzzer ## look for LoRA files that crash the readers, FUZZ_SECONDS=600 long, with FUZZ_JOBS=1 processes
	$(fuzzer) .build/fuzz/corpus Fuzz/Corpus Fuzz/Findings -dict=Fuzz/safetensors.dict -artifact_prefix=.build/fuzz/ \
	  -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $(if $(filter-out 1,$(FUZZ_JOBS)),-fork=$(FUZZ_JOBS))

fuzz-corpus: fuzzer ## keep the fewest of the small files from `make fuzz` that reach all that they reach, in Fuzz/Corpus
	@rm -rf .build/fuzz/small .build/fuzz/kept && mkdir .build/fuzz/small .build/fuzz/kept
	find Fuzz/Corpus .build/fuzz/corpus -type f -size -900c -exec cp {} .build/fuzz/small \;
	$(fuzzer) -set_cover_merge=1 -use_counters=0 .build/fuzz/kept Fuzz/Findings .build/fuzz/small
	rm -f Fuzz/Corpus/* && cp .build/fuzz/kept/* Fuzz/Corpus/

clean: ## remove what was built
	rm -rf .build

distclean: clean ## remove what was built and what was fetched
	rm -rf .libtorch .libtorch-work .venv-goldens
