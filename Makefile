# make help lists the targets. demo and build need Go alone; deps installs what the tests need besides.
SHELL := /bin/bash

# Inputs and not seconds: before Go 1.27 the fuzzer may fail at its deadline (go.dev/issue/75804).
FUZZTIME ?= 2000x
LINT      = go tool -modfile=tools/go.mod golangci-lint
# Packages with end-to-end tests: real processes and players, behind the build tag e2e.
E2E       = $(sort $(dir $(shell grep -rl --include='*_test.go' '^//go:build.*\be2e\b' .)))
# Packages with tests that hold only without the race detector.
ALLOCS    = $(sort $(dir $(shell grep -rl --include='*_test.go' '^//go:build !race' .)))
BENCHES   = $(sort $(dir $(shell grep -rl --include='*_test.go' '^func Benchmark' .)))

.PHONY: help demo build test race fuzz lint vet cross bench bench-truth bench-rivals-truth bench-replay check deps media e2e clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Watch the sample title through a swarm of real processes
	./build/shoal demo

build: ## Build build/shoal
	go build -o build/shoal ./cmd/shoal

test: deps ## Run every test: unit, then end to end with real players
	go test ./...
	@$(MAKE) --no-print-directory e2e

race: ## Run the unit tests under the race detector, and without it those that count allocations
	go test -race -timeout 30m ./...
	go test -run 'Allocat' $(ALLOCS)

e2e: ## Run the end-to-end tests
	go test -count=1 -p 1 -timeout 30m -tags e2e $(E2E)

fuzz: ## Fuzz every decoder with FUZZTIME (2000x) inputs each, or for as long as 1m
	FUZZTIME='$(FUZZTIME)' scripts/fuzz.sh

lint: ## Run golangci-lint with the rules of .golangci.yml
	$(LINT) run ./...

vet: ## Run go vet, end-to-end tests included
	go vet -tags e2e,netns ./...

cross: ## Build for macOS and Windows
	for os in darwin windows; do GOOS=$$os go build ./cmd/... ./engine/... ./tracker/... || exit 1; done

bench: ## Measure: benchmarks of every package, then each command under bench/
	go test -run '^$$' -bench . $(BENCHES)
	for command in $$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./bench/... | grep -v -e /truth$$ -e /realtraces$$); do \
		echo "== $$command"; go run $$command || exit 1; \
	done

bench-truth: ## Compare the replay with real peers behind emulated lines: as root, 35 minutes
	go test -count=1 -tags netns ./bench/emulator ./bench/link
	go run ./bench/truth --runs 5

bench-replay: build ## Replay recorded days of a live service in TRACES: hours
	@go run ./bench/realtraces --traces '$(TRACES)' -- $(REPLAY)

bench-rivals-truth: ## Compare the replay's rivals with the programs that they model: as root, 40 minutes
	for rival in p2p-media-loader libtorrent libtorrent-rarest-first; do \
		go run ./bench/truth --rival $$rival --scale 2,1 --runs 3 || failed=1; \
	done; [ -z "$$failed" ]

check: deps ## What CI runs: lint, vet, builds for macOS and Windows, race tests, short fuzz, end to end
	@for step in lint vet cross race fuzz e2e; do \
		start=$$SECONDS; echo "== $$step"; \
		$(MAKE) --no-print-directory $$step || exit 1; \
		echo "== $$step took $$((SECONDS - start)) s"; \
	done

deps: ## Install with apt what the tests need and the machine lacks
	@scripts/deps.sh

media: ## Make larger titles under build/media (not committed)
	scripts/media.sh large build/media

clean: ## Remove everything that make has made
	rm -rf build bench-out
