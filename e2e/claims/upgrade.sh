#!/usr/bin/env bash
# Another version of the operator, which builds other pods, takes over.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

model tiny-reward-v2 | apply
ready helpfulness
two_pods

other_operator() { # one that would build other pods
    kubectl -n betterai-system patch deployment betterai-operator --type=json \
        -p '[{"op":"replace","path":"/spec/template/spec/containers/0/args/2","value":"docker.io/betterai/other:1"}]' >/dev/null
    kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=60s >/dev/null
}

claim "an operator that would build other pods restarts no model"
before=$(pods)
other_operator
kubectl -n demo annotate rwm helpfulness "touched=$RANDOM" --overwrite >/dev/null
sleep 2 # nothing happens, so there is nothing to wait for
same "$(pods)" "$before" "pods"
install_operator

claim "nor in the middle of a rollout, which it brings to its end"
stepped tiny-reward-v1 | sed 's/duration: 5s/duration: 10m/' | apply
becomes "{.status.traffic[1].appliedWeight}" 10
canary=$(get helpfulness '{.status.traffic[1].revision}')
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
before=$(pods)
other_operator
same "$(pods)" "$before" "pods"
command resume
becomes "{.status.traffic[1].appliedWeight}" 50
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
command resume
becomes "{.status.stable.revision}" "$canary"
after=$(pods)
kept=0
for pod in $before; do [[ $after != *"$pod"* ]] || kept=$((kept + 1)); done
((kept > 0)) || broken "no pod of before the upgrade is left: $before, then $after"
install_operator
model tiny-reward-v2 | apply
ready helpfulness
