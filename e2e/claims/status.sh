#!/usr/bin/env bash
# A status that is lost, and one of a newer version, in the middle of a rollout.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

pods() { kubectl -n demo get pods -l betterai.dev/model=helpfulness,betterai.dev/component=server -o jsonpath='{range .items[*]}{.metadata.uid}{"\n"}{end}' | sort; }
status() { kubectl -n demo patch rwm helpfulness --subresource=status --type=json -p "[$1]" >/dev/null; } # operation

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness
start_client status load --url $url --duration 300

claim "a status that is lost is made anew: no pod is, no share moves, and the rollout goes on where it was"
stepped tiny-reward-v2 | sed 's/pause: {duration: 5s}/pause: {}/' | apply
becomes "{.status.traffic[1].appliedWeight}" 10
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
before=$(pods) rollout=$(get helpfulness '{.status.rollout.id}')
status '{"op": "replace", "path": "/status", "value": {}}'
becomes "{.status.traffic[1].appliedWeight}" 10
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
same "$(get helpfulness '{.status.rollout.id}')" "$rollout" "the rollout"
same "$(pods)" "$before" "its pods"

claim "a status of a newer version is held as it is, and said"
status '{"op": "replace", "path": "/status/rollout/step/kind", "value": "Teleport"}'
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" UnknownState
same "$(get helpfulness '{.status.rollout.step.kind}')" Teleport "the step"
same "$(get helpfulness '{.status.traffic[1].appliedWeight}')" 10 "the share"
same "$(pods)" "$before" "its pods"
status '{"op": "replace", "path": "/status", "value": {}}'
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
for weight in 50 100; do
    command resume
    [[ $weight == 100 ]] || becomes "{.status.traffic[1].appliedWeight}" $weight
    [[ $weight == 100 ]] || becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
done
ready helpfulness
report=$(end_client status)
claim "$report"
no_failure "$report"
kubectl -n demo delete rwm helpfulness --wait >/dev/null
