#!/usr/bin/env bash
# What is counted while routers go away: a shadow step under load, whose pairs are set against the requests sent.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: it kills processes"; exit 0; }

shadowed() { # folder
    model "$1" | sed '/^  rollout:/d'
    cat <<EOT2
  rollout:
    steps: [{shadow: {percent: 100, minPairs: 1}}, {gate: {names: [shift], maxDuration: 30m}}, {setWeight: 10}]
    gates: [{name: shift, minSamples: 1000000, interval: 1s, paired: {metric: ScoreShift, within: "9"}}]
    rollbackWindow: {duration: 1m, warmReplicas: 0}
EOT2
}
routers() { kubectl -n demo get pods -l betterai.dev/model=helpfulness,betterai.dev/component=router \
    -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}'; }
pairs() { local n; n=$(get helpfulness '{.status.gates[0].samples}'); echo "${n:-0}"; }
answered() { python3 -c 'import json, sys; r = json.loads(sys.argv[1]); print(r["requests"] - r["failures"])' "$1"; } # report
counted() { # at least, at most: waits until the status, which is written now and then, says so many pairs
    local now=0
    for _ in {1..240}; do
        now=$(pairs)
        ((now < $1)) || break
        sleep 0.25
    done
    (($1 <= now && now <= $2)) || broken "$now pairs are counted, not $1 to $2"
    echo "$now"
}

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness
shadowed tiny-reward-v2 | apply
becomes '{.status.rollout.step.kind}' Shadow
becomes "{.status.conditions[?(@.type=='RoutersInSync')].status}" True
# The gate, which counts and never has enough, is looked at from its step on.
first=$(answered "$(client counts load --url $url --users 3000 --duration 2)")
becomes '{.status.rollout.step.kind}' Gate

claim "routers that are told to end hand over all that they counted"
start_client counts load --url $url --users 3000 --duration 20
for pod in $(routers); do
    kubectl -n demo delete pod "$pod" --wait=false >/dev/null
    kubectl -n demo rollout status deployment/helpfulness-router --timeout=60s >/dev/null
    kubectl -n demo wait --for=delete "pod/$pod" --timeout=60s >/dev/null 2>&1 || true
done
report=$(finish_client counts)
no_failure "$report"
sent=$((first + $(answered "$report")))
before=$(counted "$sent" "$sent")
claim "  $sent requests, $before pairs"

claim "those that are killed take a second of counts and what waits in their queues at most"
start_client counts load --url $url --users 3000 --duration 15
for pod in $(routers); do
    kill_process "$pod"
    kubectl -n demo wait --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 "pod/$pod" --timeout=30s >/dev/null
    kubectl -n demo wait --for=condition=Ready "pod/$pod" --timeout=30s >/dev/null
done
report=$(finish_client counts)
sent=$((before + $(answered "$report")))
lost=$((2 * (50 + 256)))
claim "  $sent requests were answered in all, $(counted $((sent - lost)) "$sent") pairs are counted"

claim "operators that start anew count nothing twice"
kubectl -n betterai-system delete pod -l app.kubernetes.io/name=betterai-operator >/dev/null
kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=60s >/dev/null
start_client counts load --url $url --users 3000 --duration 20
report=$(finish_client counts)
sent=$((sent + $(answered "$report")))
claim "  $sent requests in all, $(counted $((sent - lost)) "$sent") pairs"
kubectl -n demo delete rwm helpfulness --wait >/dev/null
