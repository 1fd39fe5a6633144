#!/usr/bin/env bash
# Routers that go away, one at a time, under load over kept and fresh connections.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: it kills processes"; exit 0; }

routers() { kubectl -n demo get pods -l betterai.dev/model=helpfulness,betterai.dev/component=router \
    -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}'; }
# Both serve, and those that were told to end are gone.
whole() {
    kubectl -n demo rollout status deployment/helpfulness-router --timeout=60s >/dev/null
    kubectl -n demo wait --for=delete "pod/$1" --timeout=60s >/dev/null 2>&1 || true
}

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness

claim "one that is told to end loses nothing"
start_client routers load --url $url --duration 20
for pod in $(routers); do
    kubectl -n demo delete pod "$pod" --wait=false >/dev/null
    whole "$pod"
done
report=$(finish_client routers)
claim "$report"
no_failure "$report"

claim "one that is killed loses what it had in flight, and what comes until Kubernetes notices"
start_client routers load --url $url --duration 10
for pod in $(routers); do
    kill_process "$pod"
    restarts="{.status.containerStatuses[0].restartCount}"
    kubectl -n demo wait --for=jsonpath="$restarts"=1 "pod/$pod" --timeout=30s >/dev/null
    kubectl -n demo wait --for=condition=Ready "pod/$pod" --timeout=30s >/dev/null
done
report=$(finish_client routers)
claim "$report"
python3 -c '
import json, sys
kinds = json.loads(sys.argv[1])["failures_by_kind"]
refused = sum(n for kind, n in kinds.items() if kind.startswith("connect: "))
torn = sum(n for kind, n in kinds.items() if kind.startswith(("send", "read: ")))
assert refused <= 40 and torn <= 10 and refused + torn == sum(kinds.values()), kinds
' "$report" || broken "more was lost: $report"
