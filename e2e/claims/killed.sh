#!/usr/bin/env bash
# An operator that is killed at random moments of a rollout.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

claim "an operator that is killed fails no request and reaches the same end (${ROUNDS:=1} times)"
model tiny-reward-v2 | apply
ready helpfulness
start_client killed load --url $url --duration $((ROUNDS * 120))
for ((round = 1; round <= ROUNDS; round++)); do
    version=$((round % 2 + 1))
    model tiny-reward-v$version | apply
    sleep "$((RANDOM % 9)).$((RANDOM % 10))" # the moment is random on purpose
    kubectl -n betterai-system delete pod -l app.kubernetes.io/name=betterai-operator --grace-period=0 --force >/dev/null 2>&1
    ready helpfulness
    same "$(kubectl -n demo get deployments -l betterai.dev/model=helpfulness,betterai.dev/component=server -o name | wc -l)" 1 "Deployments after kill $round"
    same "$(get helpfulness '{.status.model.digest}')" "$(kubectl -n demo get deployments -l betterai.dev/model=helpfulness,betterai.dev/component=server \
        -o jsonpath='{.items[0].spec.template.spec.containers[0].args[4]}')" "digest after kill $round"
done
report=$(end_client killed)
claim "$report"
no_failure "$report"
