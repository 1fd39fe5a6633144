# Every target works from a clean clone. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo

.PHONY: help
help: ## lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: test
test: deps lint unit ## everything that CI runs

.PHONY: deps
deps: ## installs what the Rust build needs from Debian's packages
	@hack/deps

.PHONY: generate
generate: ## writes crds/yaml from the types
	$(CARGO) run --release --locked -q -p crds --bin crdgen

.PHONY: fmt
fmt: ## formats the code
	$(CARGO) fmt --all

.PHONY: lint
lint: ## formatting, clippy, and who may depend on whom
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	hack/dependency-law

.PHONY: unit
unit: ## tests that need no cluster
	$(CARGO) test --release --locked --workspace
