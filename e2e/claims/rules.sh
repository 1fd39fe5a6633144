#!/usr/bin/env bash
# The definition is accepted by a real API server, within its budget, and so are its rules.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

claim "every CEL case is refused, and its repaired twin accepted"
python3 "$root/e2e/claims/cel.py" "$root/crds/tests/cel-cases.json"
claim "the definition is established"
kubectl wait --for=condition=Established crd/rewardmodels.betterai.dev --timeout=10s >/dev/null
