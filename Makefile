# Every target works from a clean clone. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo

.PHONY: help
help: ## lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: test
test: deps lint unit clients ## everything that CI runs
	@e2e/test --if-able

.PHONY: deps
deps: ## installs what is missing from Debian's packages
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
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	CARGO_TARGET_DIR=target $(CARGO) clippy --release --locked --manifest-path inference-server/fuzz/Cargo.toml -- -D warnings
	hack/dependency-law

.PHONY: unit
unit: ## tests that need no cluster
	$(CARGO) test --release --locked --workspace

.PHONY: coverage
coverage: ## the lines of the statistics and the decisions that their tests run (minutes)
	@hack/coverage

.PHONY: clients
clients: ## the field's own clients, and everything that the OpenAPI document allows, against a server
	# The same packages as for the images: another choice has other features, and builds all anew.
	$(CARGO) build --release --locked -p operator -p inference-server -p e2e -p kubectl-rewards
	@hack/clients
	@hack/schemathesis

.PHONY: gitops
gitops: ## what Argo CD, Flux and kstatus say of every state, by their own code: needs Go, minutes the first time (UPDATE=1 writes what is generated)
	@hack/gitops/check

.PHONY: cuda
cuda: deps ## the server for NVIDIA GPUs, in target/cuda (no GPU is needed; 1.2 GB of compiler and libraries, many minutes the first time)
	@hack/cuda
	@hack/cuda libraries target/cuda/libraries

.PHONY: bench
bench: ## the server beside torch, ONNX Runtime and a naive server, on this CPU (ROUNDS=3; 15 minutes, and gigabytes once)
	@hack/bench

.PHONY: bench-false-cutoffs
bench-false-cutoffs: ## 12,000 simulated rollouts: how often a healthy canary is cut off (minutes)
	$(CARGO) test --release --locked -p traffic --test cutoffs -- --ignored --nocapture

.PHONY: bench-experiments
bench-experiments: ## simulated experiments, 2,000 healthy ones of each kind: how often the verdict is wrong (20 minutes)
	@mkdir -p target/bench
	EXPERIMENTS_JSON=$(CURDIR)/target/bench/experiments.json $(CARGO) test --release --locked -p operator-core \
		two_thousand_experiments -- --ignored --nocapture

.PHONY: bench-router
bench-router: ## what a request costs in the router, beside nginx: CPU, time, memory (minutes)
	@hack/deps router-bench
	$(CARGO) test --release --locked -p traffic -p router -p inference-server --test cost -- --ignored --nocapture

# Where cluster work happens: a Kubernetes on this machine (local and auto; kind, where Docker is), or the one of
# the current kubeconfig context, whose nodes pull the images from REGISTRY.
CLUSTER ?= auto
export CLUSTER REGISTRY
LAUNCHER = e2e/cluster/$(if $(filter auto,$(CLUSTER)),local,$(CLUSTER))

.PHONY: cluster
cluster:
	@[[ -x $(LAUNCHER) ]] || { echo "CLUSTER=$(CLUSTER) is not supported: use auto, local, kind or current" >&2; exit 2; }

.PHONY: cluster-deps
cluster-deps: deps cluster
	@hack/deps $(notdir $(LAUNCHER))

.PHONY: cluster-up
cluster-up: cluster-deps ## starts a real Kubernetes on this machine
	@$(LAUNCHER) up

.PHONY: cluster-down
cluster-down: cluster ## leaves nothing of it behind
	@$(LAUNCHER) down

.PHONY: images
images: cluster-up ## builds the images and brings them into the cluster
	@e2e/cluster/images

.PHONY: demo
demo: images ## a model applied, measured, replaced in steps under load, and a harmful one cut off
	@e2e/demo/run

.PHONY: demo-down
demo-down: cluster-down ## removes all of the demo

.PHONY: bench-rollback
bench-rollback: images ## how long a canary that turns bad has traffic, by fault and load (RUNS=3; 15 minutes)
	@e2e/cluster/images faulty
	@mkdir -p target/bench
	@e2e/bench/rollback --runs=$(or $(RUNS),3) >target/bench/rollback.json.part
	@mv target/bench/rollback.json.part target/bench/rollback.json

.PHONY: e2e
e2e: ## the demo and the claims that only a real cluster can show
	@e2e/test

.PHONY: e2e-argocd
e2e-argocd: images ## a real Argo CD syncs a model through its life (it is built once: minutes)
	@e2e/ready
	@e2e/gitops/run

.PHONY: e2e-full
e2e-full: ## the same, more thoroughly
	@FULL=1 ROUNDS=20 IDLE_SECONDS=60 e2e/test
