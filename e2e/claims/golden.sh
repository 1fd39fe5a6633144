#!/usr/bin/env bash
# A golden set judges a new revision before a user meets it; an HTTPRoute where the cluster knows none.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

pairs=$root/e2e/fixtures/data/preferences-eval.jsonl
stable() { get helpfulness '{.status.stable.revision}'; }
gate() { get helpfulness "{.status.gates[?(@.name=='golden')].$1}"; }
judged_by() { get helpfulness '{.status.rollout.goldenSet.digest}'; }
golden() { sed "s|path: tiny-reward-v1|path: $1|" "$root/manifests/samples/golden.yaml"; } # folder
canary_requests() { get helpfulness '{.status.traffic[1].specWeight}' 2>/dev/null || true; }

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null # it may remember a failure
kubectl -n demo delete configmap golden --ignore-not-found >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

claim "a set that is missing is told; the first revision is scored once it is there"
golden tiny-reward-v1 | apply
becomes "{.status.conditions[?(@.type=='Paused')].reason}" MetricsUnavailable 90
[[ $(get helpfulness '{.status.message}') == *'no ConfigMap "golden"'* ]] || broken "$(get helpfulness '{.status.message}')"
golden_set "$pairs"
ready helpfulness
first=$(stable)
same "$(judged_by)" "sha256:$(sha256sum "$pairs" | cut -d' ' -f1)" "the set's digest"
claim "  $(gate message)"

claim "v1 → v2 passes"
start_client pass load --url $url --duration 300
golden tiny-reward-v2 | apply
becomes "{.status.history[0].outcome}" Promoted 90
ready helpfulness
second=$(stable)
[[ $second != "$first" ]] || broken "v2 was not promoted"
claim "  $(gate message)"
report=$(end_client pass)
no_failure "$report"

claim "the regressed v3 is refused before any request reaches it, and v2's result is not found out again"
start_client refuse load --url $url --duration 300
golden tiny-reward-v3-regressed | apply
for ((i = 0; i < 450; i++)); do
    share=$(canary_requests) # once: between two looks it may be gone
    [[ -z $share || $share == 0 ]] || broken "it has $share % of the traffic"
    [[ $(get helpfulness "{.status.conditions[?(@.type=='Stalled')].reason}") != GateFailed ]] || break
    sleep 0.2
done
stalled helpfulness GateFailed "gate golden: accuracy"
claim "  $(gate message)"
same "$(stable)" "$second" "stable revision"
args=$(kubectl -n demo get jobs -l betterai.dev/component=golden -o jsonpath='{.items[*].spec.template.spec.containers[0].args}')
[[ $args == *--against-known* ]] || broken "the stable revision is asked again: $args"
report=$(end_client refuse)
no_failure "$report"

claim "a broken line is named, takes nothing back, and a mended set goes on by itself"
{ head -6 "$pairs"; echo '{"chosen": 7}'; } >"$work/broken"
golden_set "$work/broken"
# Another revision than the first one, which is warm and would take no steps.
golden tiny-reward-v1 | sed 's|replicas: 2|replicas: 2\n  server: {dtype: F32}|; s|"0.02"|"0.5"|' | apply
for ((i = 0; i < 300; i++)); do [[ $(gate message) != *"line 7"* ]] || break; sleep 0.2; done
[[ $(gate message) == *"line 7"* ]] || broken "the line is not named: $(gate message)"
same "$(stable)" "$second" "stable revision"
golden_set "$pairs"
becomes "{.status.history[0].outcome}" Promoted 120

claim "a set that changes after its verdict is for the next rollout"
before=$(judged_by)
head -500 "$pairs" >"$work/half"
golden_set "$work/half"
sleep 12
same "$(judged_by)" "$before" "the set's digest"

if ! kubectl api-resources --api-group=gateway.networking.k8s.io 2>/dev/null | grep -q httproutes; then
    claim "without the Gateway API the message says to install it, and the model serves"
    sed "s|name: helpfulness|name: routed|" "$root/manifests/samples/gateway.yaml" | apply
    stalled routed InvalidSpec "install it"
    kubectl -n demo wait --for=condition=Available rwm/routed --timeout=60s >/dev/null
    kubectl -n demo delete rwm routed --wait >/dev/null
fi
kubectl -n demo delete rwm helpfulness --wait >/dev/null # the others have no golden set
kubectl -n demo delete configmap golden >/dev/null
model tiny-reward-v2 | apply
ready helpfulness
