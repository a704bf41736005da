# Gatehouse: `make help` lists what there is to do, `make test` is the whole proof.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the static binary, ./gatehouse
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o gatehouse ./cmd/gatehouse

.PHONY: test
test: ## the whole proof: install what is missing, then lint, unit, chaos, fuzz and e2e, and one summary
	@test/ci/install.sh test
	@test/ci/prove.sh lint unit chaos fuzz e2e

.PHONY: lint
lint: ## golangci-lint, go.mod, shell scripts
	@test/ci/install.sh lint
	@test/ci/prove.sh lint

.PHONY: unit
unit: ## every Go test under the race detector, against real Postgres and Redis
	@test/ci/install.sh unit
	@test/ci/prove.sh unit

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 5s) each
	@test/ci/install.sh unit
	@test/ci/prove.sh fuzz

.PHONY: e2e
e2e: ## the real binary, a real browser, and a provider that nobody here wrote
	@test/ci/install.sh e2e
	@test/ci/prove.sh e2e

.PHONY: e2e-large
e2e-large: ## a GiB up and down through nginx, Caddy and HAProxy (make test: 64 MiB)
	@test/ci/install.sh unit
	@. test/ci/env.sh && GATEHOUSE_LARGE=1 go test -count=1 -v -run 'TestFronts/.*/(RD-04|.*MiB)' ./cmd/gatehouse

.PHONY: bench
bench: ## CPU and latency of a check and of a proxied request, beside bare net/http and oauth2-proxy
	@test/ci/install.sh bench
	. test/ci/env.sh && PATH=$$PATH:/usr/sbin go run ./test/bench

.PHONY: bench-sessions
bench-sessions: ## look-ups, sign-ins, lists, slides and sweeps with 1 k, 100 k and 1 M live sessions
	@test/ci/install.sh unit
	. test/ci/env.sh && go run ./test/sessions

.PHONY: bench-revocation
bench-revocation: ## how long a session that was ended is let in still: three gateways, 1,000 rounds, every fault
	@test/ci/install.sh unit
	@. test/ci/env.sh && go test -count=1 -timeout 60m -v -run TestRevocation ./test/revocation -args -rounds=1000 -faults=3 -strict

.PHONY: chaos
chaos: ## ten minutes in which one part after another fails while people work (ARGS="-for=1h -seed=7")
	@test/ci/install.sh unit
	@. test/ci/env.sh && go test -count=1 -timeout 3h -v -run TestCampaign ./test/chaos -args -for=10m -seed=0 -build= $(ARGS)

.PHONY: chaos-broken
chaos-broken: ## three builds that are broken on purpose, each of which the campaign has to catch
	@test/ci/install.sh unit
	@test/chaos/broken.sh

.PHONY: bench-upload
bench-upload: ## uploads through Gatehouse beside tusd, the SDK's uploader and a bare relay (ARGS="-scale 0.1" for a quick look)
	@test/ci/install.sh bench-upload
	. test/ci/env.sh && go run ./test/upload $(ARGS)

.PHONY: bench-overload
bench-overload: ## good requests beside 5,000 slow clients, slowhttptest and every HTTP/2 flood: p99, memory, CPU
	@test/ci/install.sh bench-overload
	@. test/ci/env.sh && go test -count=1 -timeout 30m -v -run TestOverload ./test/overload -args -slow=5000 -span=20s -all -slowhttptest

.PHONY: image-steps
image-steps: ## run the Dockerfile's own steps with buildah, from base images made here
	@test/ci/install.sh image
	@test/ci/image.sh

.PHONY: clean
clean: ## remove what the other targets made in the work tree
	rm -rf gatehouse .build test/e2e/node_modules
