# Each target first sets up what it needs; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help bootstrap build test test-bootstrap demo format lint goldens bench-zip bench-svd clean distclean

# Where the demo writes its report.
DEMO_OUTPUT ?= demo

# What `make bench-zip` measures, how often it takes turns, and the Python with torch and diffusers (`make goldens` makes one).
BENCH_OPTIONS ?= --width 512 --height 512 --dtype bfloat16 --steps 3
BENCH_ROUNDS ?= 1 2
BENCH_PYTHON ?= .venv-goldens/bin/python

libtorch := $(or $(LIBTORCH),$(CURDIR)/.libtorch)
export PKG_CONFIG_PATH := $(CURDIR)/.libtorch/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))

# One configuration for everything, and tests without @testable, so that no target builds again what another has built.
# The rpath stands here because SwiftPM takes none from a pkg-config file.
swift_flags := --configuration release -Xlinker -rpath -Xlinker "$(libtorch)/lib"
swift_sources := Package.swift Sources Tests Benchmarks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## check Swift, install the image libraries, fetch libtorch (LIBTORCH=/folder uses that one)
	@Scripts/bootstrap.sh

build: bootstrap ## build the ziplora command and the library
	swift build $(swift_flags)

test: test-bootstrap build ## run all tests
	swift test $(swift_flags) --disable-testable-imports --disable-xctest

test-bootstrap: ## run the tests of the bootstrap alone
	@Tests/Bootstrap/test_bootstrap.sh

demo: build ## train, zip and compare on the shipped pictures; writes demo/report.html (DEMO_OUTPUT=folder: there)
	.build/release/ziplora demo --output "$(DEMO_OUTPUT)" --overwrite

format: ## format the Swift sources in place
	swift format --in-place --recursive --parallel $(swift_sources)

lint: ## check the format of the Swift sources; a warning is an error
	swift format lint --strict --recursive --parallel $(swift_sources)

goldens: ## make the tests' reference values again, with pinned Python packages in .venv-goldens
	Scripts/goldens/run.sh

bench-zip: bootstrap ## time a zip step of SDXL's size, in turns with PyTorch's (Docs/SPEED.md)
	ZIPLORA_BENCHMARKS=1 swift build $(swift_flags) --product ZipStepBenchmark
	@set -e; for round in $(BENCH_ROUNDS); do \
	  .build/release/ZipStepBenchmark --model sdxl $(BENCH_OPTIONS); \
	  "$(BENCH_PYTHON)" Scripts/peer_zip_step.py --way lowrank $(BENCH_OPTIONS); \
	done

bench-svd: bootstrap ## time merging a rank-64 pair at SDXL's layers by svd, beside a dense SVD (Docs/SPEED.md)
	ZIPLORA_BENCHMARKS=1 swift build $(swift_flags) --product SVDMergeBenchmark
	.build/release/SVDMergeBenchmark

clean: ## remove what was built
	rm -rf .build

distclean: clean ## remove what was built and what was fetched
	rm -rf .libtorch .libtorch-work .venv-goldens
