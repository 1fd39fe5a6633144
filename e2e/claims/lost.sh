#!/usr/bin/env bash
# A new revision whose pods are lost: deleted, killed, drained. Its users notice nothing, and it is not to
# blame. FULL=1: drained to a second node, too.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: it drains a node and kills processes"; exit 0; }
seen=$(mktemp)
node=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')

stop() {
    kubectl uncordon "$node" >/dev/null
    kill "$watch" 2>/dev/null || true
    rm -f "$seen"
}
# The pods that are not on their way out already.
canary() { kubectl -n demo get pods -l "betterai.dev/revision=$revision" \
    -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}'; }
drain() {
    kubectl cordon "$node" >/dev/null
    local pod
    for pod in $(canary); do
        printf '{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "%s", "namespace": "demo"}}' "$pod" |
            kubectl create --raw "/api/v1/namespaces/demo/pods/$pod/eviction" -f - >/dev/null
    done
}
# How often the rollout has been held for want of pods.
held() { grep -c CanaryUnavailable "$seen" || true; }
# Waits until it was held once more, and goes on; the share stays what it was decided to be.
comes_back() { # what, times before
    local i
    for ((i = 0; i < 300; i++)); do (($(held) <= $2)) || break; sleep 0.1; done
    (($(held) > $2)) || broken "$1: it never was Paused/CanaryUnavailable: $(sort "$seen" | uniq -c)"
    becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep 40
    same "$(get helpfulness '{.status.failedRevisions}')" "" "$1: failed revisions"
    same "$(get helpfulness '{.status.traffic[1].specWeight}/{.status.traffic[1].appliedWeight}')" 50/50 "$1: wish and fact"
}

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null # it may remember a failure
model tiny-reward-v1 | apply
ready helpfulness
start_client lost load --url $url --duration 600
# One step, to a half, and a long pause.
stepped tiny-reward-v2 | sed '/setWeight: 50/,+1d; s/setWeight: 10/setWeight: 50/; s/duration: 5s/duration: 10m/' | apply
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
revision=$(get helpfulness '{.status.canary.revision}')
kubectl -n demo get rwm helpfulness -w \
    -o jsonpath='{.status.conditions[?(@.type=="Paused")].reason}{"\n"}' > >(stdbuf -oL uniq >"$seen") &
watch=$!
trap stop EXIT

claim "pods that somebody deletes by force: held, and on when they are back"
before=$(held)
kubectl -n demo delete pod $(canary) --force --grace-period=0 >/dev/null 2>&1
comes_back "deleted" "$before"

claim "processes that are killed: the same"
before=$(held)
for pod in $(canary); do kill_process "$pod"; done
comes_back "killed" "$before"

claim "a drain of their node: held as long as there is no other"
before=$(held)
drain
for ((i = 0; i < 100; i++)); do (($(held) == before)) || break; sleep 0.1; done
becomes "{.status.conditions[?(@.type=='Paused')].reason}" CanaryUnavailable 20
kubectl uncordon "$node" >/dev/null
comes_back "drained" "$before"

if [[ ${FULL:-} ]]; then
    claim "and with another one: back over there"
    "$root/e2e/cluster/local" node 2
    before=$(held)
    drain
    comes_back "moved" "$before"
    same "$(kubectl -n demo get pod $(canary) -o jsonpath='{.spec.nodeName}')" node-2 "node of the new revision"
    kubectl uncordon "$node" >/dev/null
fi

claim "what was lost three times is promoted"
command resume
ready helpfulness
same "$(get helpfulness '{.status.stable.revision}')" "$revision" "stable revision"
same "$(get helpfulness '{.status.history[0].outcome}')" Promoted outcome
report=$(end_client lost)
claim "$report"
no_failure "$report"
