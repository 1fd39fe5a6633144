#!/usr/bin/env bash
# An API server that is away in the middle of a rollout. FULL=1: for two minutes.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: the API server of another cluster is not ours to stop"; exit 0; }
seconds=$([[ ${FULL:-} ]] && echo 120 || echo 8)
audit=$run/logs/audit.log

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness
skip=$(stat -c %s "$audit")

claim "while the API server is away for $seconds s no request fails and no share moves; then it goes on"
start_client away load --url $url --duration $((seconds + 25))
stepped tiny-reward-v2 | apply
becomes "{.status.traffic[1].appliedWeight}" 10
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
server=$(awk '$1 == "kube-apiserver" {print $2}' "$run/processes")
trap 'kill -CONT $server' EXIT
kill -STOP "$server"
sleep "$seconds" # it is away for that long
kill -CONT "$server"
trap - EXIT
ready helpfulness
report=$(finish_client away)
claim "$report"
no_failure "$report"
claim "$("$root/target/release/claims" audit --log "$audit" --skip "$skip")"
