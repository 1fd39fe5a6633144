#!/usr/bin/env bash
# The definition is accepted by a real API server, within its budget, and so are its rules.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

claim "every CEL case is refused, and its repaired twin accepted"
python3 "$root/e2e/claims/cel.py" "$root/crds/tests/rules/model-cases.json"
claim "so is every case of an experiment, changes of one that runs among them"
# An operator would say at once that those do not run.
operators() { kubectl -n betterai-system scale deployment/betterai-operator --replicas="$1" >/dev/null; }
operators 0
kubectl -n betterai-system wait --for=delete pod -l app.kubernetes.io/name=betterai-operator --timeout=60s >/dev/null 2>&1 || true
python3 "$root/e2e/claims/cel.py" "$root/crds/tests/rules/experiment-cases.json"
operators 2
kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=60s >/dev/null
claim "the definitions are established"
kubectl wait --for=condition=Established crd/rewardmodels.betterai.dev --timeout=10s >/dev/null
kubectl wait --for=condition=Established crd/abexperiments.betterai.dev --timeout=10s >/dev/null
