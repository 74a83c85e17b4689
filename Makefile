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
FUZZ      ?= .
DURATION  ?= 20m
STORMFLAGS ?=
BENCHTIME ?= 1s
CHAOS     ?= .
CHAOSTIME ?= 45s
CHAOSFLAGS ?=
NODES     ?= 3
LOAD      ?= 1000000
LOADFLAGS ?= -load.rate=800 -load.data=/dev/shm
ARCHES    ?= amd64 arm64
IMAGE     ?= dunlin
KUBELAB   ?= ../shared/k8s/kubelab
STEPS     ?= .
UPGRADE_FROM ?=

BIN    := bin/dunlin
BUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X dunlin/node.release=$(VERSION)'
LINTER := bin/tools/golangci-lint
# The packages that need no process of their own.
UNITS   = $(shell go list ./... | grep -v '^dunlin/e2e')

.PHONY: help run build test unit e2e lint format fix gen bench fuzz fuzz-cluster chaos load image chart package e2e-chart e2e-upgrade e2e-balancer

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | \
		while IFS=$$'\t' read -r target does; do printf '  make %-12s %s\n' "$$target" "$$does"; done

run: build ## build, then run a cluster of three nodes on this machine
	@exec $(BIN) dev --nodes $(NODES)

build: ## bin/dunlin, one static binary
	@mkdir -p bin
	$(BUILD) -o $(BIN) ./cmd/dunlin

test: lint unit chart e2e ## all that CI runs

unit: ## unit tests and fuzz seeds, with race detector and invariants
	@.ci/race -timeout 10m $(TESTFLAGS) -- $(UNITS)

e2e: build ## tests that run the built binary, then one with race detector and invariants
	@.ci/packages openssl mosquitto-clients nodejs npm chromium haproxy
	@.ci/npm e2e/browser/testdata
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -p 3 -timeout 12m -count 1 $(TESTFLAGS) ./e2e/... # they wait more than they work
	go build -race -tags invariants -o $(BIN)-race ./cmd/dunlin
	DUNLIN_BIN=$(CURDIR)/$(BIN)-race go test -short -parallel 4 -timeout 12m -count 1 $(TESTFLAGS) ./e2e/cluster ./e2e/conformance ./e2e/cases

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

fuzz: ## every fuzz target for FUZZTIME (30s) and what it is for; FUZZ='router Fuzz': those whose folder and name match
	@.ci/fuzz $(FUZZTIME) '$(FUZZ)'

fuzz-cluster: ## clients that are half right, loose on three nodes for DURATION (20m); STORMFLAGS adds, say, -storm.seed=7, STORMBUILD=-race the detector
	go build $(STORMBUILD) -tags invariants -o $(BIN)-checked ./cmd/dunlin
	DUNLIN_BIN=$(CURDIR)/$(BIN)-checked go test -count 1 -timeout 24h -v -run Storm ./e2e/fuzz \
		-storm.duration=$(DURATION) -storm.clients=16 $(STORMFLAGS)

e2e-upgrade: build ## roll a cluster from UPGRADE_FROM (the parent commit) to this one under traffic, and on to the next level
	DUNLIN_BIN=$(CURDIR)/$(BIN) UPGRADE_FROM=$(UPGRADE_FROM) go test -count 1 -timeout 20m -v $(TESTFLAGS) ./e2e/upgrade -upgrade.full

chaos: build ## faults in clusters of namespaces, 15 minutes; CHAOS=Long: 40; CHAOSFLAGS adds, say, -chaos.seed=7
	@.ci/packages iproute2 strace
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count 1 -timeout 90m -v -run '$(CHAOS)' ./e2e/chaos -chaos.duration=$(CHAOSTIME) \
		$(if $(findstring Long,$(CHAOS)),-chaos.long=10m) $(CHAOSFLAGS)

load: build ## a million connections on one machine, quiet and with 23 GB; LOAD=52000: so many; LOADFLAGS: see docs/performance.md
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count 1 -timeout 30m -v -run Million ./e2e/load -load.connections=$(LOAD) $(LOADFLAGS)

e2e-balancer: build ## HAProxy before three nodes and 5,000 clients, one node drained and killed: on a quiet machine
	@.ci/packages haproxy
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count 1 -timeout 15m -v ./e2e/balancer -balancer.clients=5000 -balancer.rate=200 -balancer.judge

image: ## dist/dunlin-VERSION.oci.tar, a container image for ARCHES, with a bill of materials of each
	@mkdir -p dist
	@for arch in $(ARCHES); do GOOS=linux GOARCH=$$arch $(BUILD) -o dist/linux-$$arch/dunlin ./cmd/dunlin; done
	@go -C cmd/tools run ./image -out $(CURDIR)/dist -name $(IMAGE) -version $(VERSION) \
		-revision "$$(git rev-parse HEAD 2>/dev/null || echo unknown)" -created "$$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
		-source "$(filter https://%,$(shell git remote get-url origin 2>/dev/null))" \
		$(foreach arch,$(ARCHES),$(arch)=$(CURDIR)/dist/linux-$(arch)/dunlin)

chart: build ## lint and render the Helm chart, hold it to schemas, and its configuration to the built binary
	go -C cmd/tools test -count 1 $(TESTFLAGS) ./...
	DUNLIN_BIN=$(CURDIR)/$(BIN) go -C charts test -vet=off -count 1 $(TESTFLAGS) ./...

package: ## dist/dunlin-VERSION.tgz, the Helm chart of this version
	go -C charts run ./package -version $(VERSION) -out $(CURDIR)/dist

e2e-chart: build ## the chart on a real Kubernetes of three machines, which KUBELAB brings up: 15 minutes, needs root
	@[ -x $(KUBELAB) ] || { echo "there is no KUBELAB $(KUBELAB), a program that brings a Kubernetes up"; exit 1; }
	@for v in v1 v2; do $(MAKE) image ARCHES=$$(go env GOARCH) IMAGE=docker.io/library/dunlin VERSION=$$v; done
	go test -c -o bin/chart.test ./e2e/chart
	@lab=$(abspath $(KUBELAB)); trap "$$lab down" EXIT; \
	KUBELAB_VOLUMES=8 $$lab up 3; \
	$$lab load dist/dunlin-v1.oci.tar dist/dunlin-v2.oci.tar; \
	$$lab run env DUNLIN_LAB=$$lab DUNLIN_CHART=$(CURDIR)/charts/dunlin DUNLIN_ROOT=$(CURDIR) \
		bin/chart.test -test.v -test.timeout 60m -chart.steps='$(STEPS)'

$(LINTER): cmd/tools/lint/go.mod cmd/tools/lint/go.sum
	@mkdir -p $(@D)
	cd cmd/tools/lint && CGO_ENABLED=0 go build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
