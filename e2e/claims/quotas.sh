#!/usr/bin/env bash
# Rollouts that a quota stands in the way of: named, waited for, and nobody's fault. Eight GPUs.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: the GPUs of another cluster are real"; exit 0; }
trap 'kubectl -n demo delete resourcequota team --ignore-not-found >/dev/null; "$root/e2e/cluster/local" gpus 2 >/dev/null' EXIT

quota() { # resource, hard
    printf '{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team", "namespace": "demo"}, "spec": {"hard": {"%s": "%s"}}}' \
        "$1" "$2" | kubectl apply -f - >/dev/null
    for ((i = 0; i < 100; i++)); do
        [[ $(kubectl -n demo get resourcequota team -o jsonpath='{.status.hard}') != *"\"$1\":\"$2\""* ]] || return 0
        sleep 0.1
    done
    broken "the quota is not in force"
}

"$root/e2e/cluster/local" gpus 8 >/dev/null
kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
on_gpus tiny-reward-v1 2 1 50% | apply
ready helpfulness

claim "no pod for the new revision: the quota is named and the old one serves, until it is raised; eight GPUs"
quota requests.nvidia.com/gpu 2
on_gpus tiny-reward-v2 2 1 50% | apply
stalled helpfulness QuotaExceeded "exceeded quota: team"
same "$(get helpfulness '{.status.conditions[?(@.type=="Available")].status}')" True Available
same "$(get helpfulness '{.status.failedRevisions}')" "" "failed revisions"
kubectl -n demo delete resourcequota team >/dev/null
ready helpfulness
same "$(get helpfulness '{.status.stable.accelerators}')" 2 accelerators

claim "no pod for the verify Job: the same"
quota pods 1
on_gpus tiny-reward-v2-shifted 2 1 50% | apply
stalled helpfulness QuotaExceeded "exceeded quota: team"
same "$(get helpfulness '{.status.conditions[?(@.type=="Available")].status}')" True Available
kubectl -n demo delete resourcequota team >/dev/null
ready helpfulness
