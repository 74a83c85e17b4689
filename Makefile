# Everything that is done to Dunlin is a target here; `make help` lists them.
# Each does its own set-up: what it needs is Go, and for some a Debian package
# that is installed where that is allowed and otherwise named.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TESTFLAGS ?=
FUZZTIME  ?= 30s
BENCHTIME ?= 1s
CHAOS     ?= .
CHAOSTIME ?= 45s
CHAOSFLAGS ?=
NODES     ?= 3
LOAD      ?= 1000000
LOADFLAGS ?= -load.rate=800 -load.data=/dev/shm

BIN    := bin/dunlin
BUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X dunlin/node.release=$(VERSION)'
LINTER := bin/tools/golangci-lint
# The packages that need no process of their own.
UNITS   = $(shell go list ./... | grep -v '^dunlin/e2e')

.PHONY: help run build test unit e2e lint format fix gen bench fuzz chaos load image

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /\1\t/' | \
		while IFS=$$'\t' read -r target does; do printf '  make %-8s %s\n' "$$target" "$$does"; done

run: build ## build, then run a cluster of three nodes on this machine
	@exec $(BIN) dev --nodes $(NODES)

build: ## bin/dunlin, one static binary
	@mkdir -p bin
	$(BUILD) -o $(BIN) ./cmd/dunlin

test: lint unit e2e ## all that CI runs

unit: ## unit tests and fuzz seeds, with race detector and invariants
	@.ci/race -timeout 10m $(TESTFLAGS) -- $(UNITS)

e2e: build ## tests that run the built binary, then one with race detector and invariants
	@.ci/packages openssl mosquitto-clients nodejs npm chromium
	@.ci/npm e2e/browser/testdata
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -timeout 12m -count 1 $(TESTFLAGS) ./e2e/...
	go build -race -tags invariants -o $(BIN)-race ./cmd/dunlin
	DUNLIN_BIN=$(CURDIR)/$(BIN)-race go test -short -timeout 8m -count 1 $(TESTFLAGS) ./e2e/cluster ./e2e/conformance

lint: format $(LINTER) ## gofmt, go vet, golangci-lint
	go vet ./...
	go vet -tags invariants ./...
	$(LINTER) run ./...

format:
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run make fix:"; echo "$$unformatted"; exit 1; fi

fix: $(LINTER) ## format, and repair what the linter can
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')
	$(LINTER) run --fix ./...

gen: ## generate code
	go generate ./...

bench: build ## benchmarks of each layer, then end to end beside the floor and mosquitto
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(UNITS)
	@.ci/packages mosquitto
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count 1 -timeout 30m -v -run '^$$' -bench . -benchtime 1x ./e2e/bench

fuzz: ## every fuzz target for FUZZTIME (30s)
	@for pkg in $(UNITS); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			go test -tags invariants -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

chaos: build ## faults in clusters of namespaces, 15 minutes; CHAOS=Long: 40; CHAOSFLAGS adds, say, -chaos.seed=7
	@.ci/packages iproute2 strace
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count 1 -timeout 90m -v -run '$(CHAOS)' ./e2e/chaos -chaos.duration=$(CHAOSTIME) \
		$(if $(findstring Long,$(CHAOS)),-chaos.long=10m) $(CHAOSFLAGS)

load: build ## a million connections on one machine, quiet and with 23 GB; LOAD=52000: so many; LOADFLAGS: see docs/performance.md
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count 1 -timeout 30m -v -run Million ./e2e/load -load.connections=$(LOAD) $(LOADFLAGS)

image: ## container image (comes with the Helm chart)
	@echo 'make image: the container image comes with the Helm chart'; exit 1

$(LINTER): cmd/tools/lint/go.mod cmd/tools/lint/go.sum
	@mkdir -p $(@D)
	cd cmd/tools/lint && CGO_ENABLED=0 go build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
