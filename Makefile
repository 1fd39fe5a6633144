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

# Where cluster work happens. `local` makes a cluster on this machine; kind and current follow.
CLUSTER ?= auto

.PHONY: cluster
cluster:
	@case "$(CLUSTER)" in \
	auto | local) ;; \
	*) echo "CLUSTER=$(CLUSTER) is not supported yet: use CLUSTER=local" >&2; exit 2 ;; \
	esac

.PHONY: cluster-deps
cluster-deps: deps
	@hack/deps cluster

.PHONY: cluster-up
cluster-up: cluster cluster-deps ## starts a real Kubernetes on this machine
	@e2e/cluster/local up

.PHONY: cluster-down
cluster-down: cluster ## leaves nothing of it behind
	@e2e/cluster/local down

.PHONY: images
images: cluster-up ## builds the images and brings them into the cluster
	@e2e/cluster/images

.PHONY: demo
demo: images ## a model applied, measured, replaced under load, and a bad one refused
	@e2e/demo/run

.PHONY: demo-down
demo-down: cluster-down ## removes all of the demo
