#!/usr/bin/env bash
# Rollouts where GPUs are short: the real scheduler counts two of them, and others want them too. FULL=1: one
# replica that may not be missing, too.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: the GPUs of another cluster are real"; exit 0; }
end=$(mktemp -u)
stop() {
    touch "$end"
    kubectl -n demo delete pod tenant --ignore-not-found --grace-period=0 --force >/dev/null 2>&1
    rm -f "$end" "$end.json"
}
trap stop EXIT

# A pod of somebody else that asks for one GPU.
tenant() {
    kubectl apply -f - >/dev/null <<EOT
apiVersion: v1
kind: Pod
metadata: {name: tenant, namespace: demo}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 65535, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: pause
      image: docker.io/local/pause:1
      imagePullPolicy: IfNotPresent
      resources: {limits: {nvidia.com/gpu: 1}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
EOT
}
placed() { kubectl -n demo get pod tenant -o jsonpath='{.spec.nodeName}'; }
reconciling() { get helpfulness "{.status.conditions[?(@.type=='Reconciling')].$1}"; }
watched() { # most placed, fewest serving
    touch "$end"
    wait "$watch"
    claim "  $(cat "$end.json")"
    [[ $(sed 's/.*"most_placed":\([0-9]*\),"fewest_serving":\([0-9]*\),.*/\1 \2/' "$end.json") == "$1 $2" ]] ||
        broken "pods placed at once and serving: wanted $1 at most and $2 at least"
    rm -f "$end"
}
watches() {
    "$root/target/release/claims" pods --until "$end" >"$end.json" &
    watch=$!
}

"$root/e2e/cluster/local" gpus 2 >/dev/null
kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
kubectl -n demo wait --for=delete pod -l betterai.dev/component=server --timeout=60s >/dev/null # their GPUs are free
on_gpus tiny-reward-v1 2 0 50% | apply
ready helpfulness

claim "two GPUs and no surge: a replica's place is borrowed, never more than two are placed, one always serves"
watches
on_gpus tiny-reward-v2 2 0 50% | apply
becomes "{.status.conditions[?(@.type=='Ready')].reason}" Progressing
ready helpfulness
watched 2 1

claim "one who came before gets the place that is freed: the rollout waits, and says who has it"
watches
tenant
kubectl -n demo wait --for=condition=PodScheduled=false pod/tenant --timeout=20s >/dev/null
on_gpus tiny-reward-v2-shifted 2 0 50% | apply
becomes "{.status.conditions[?(@.type=='Reconciling')].reason}" WaitingForCapacity
for ((i = 0; i < 300; i++)); do [[ -z $(placed) ]] || break; sleep 0.1; done
[[ -n $(placed) ]] || broken "the tenant that was first has no node"
for ((i = 0; i < 100; i++)); do [[ $(reconciling message) != *tenant* ]] || break; sleep 0.1; done
[[ $(reconciling message) == *tenant* ]] || broken "the message does not name the tenant: $(reconciling message)"
claim "  $(reconciling message)"
same "$(get helpfulness '{.status.conditions[?(@.type=="Available")].status}')" True "Available"
same "$(get helpfulness '{.status.failedRevisions}')" "" "failed revisions"
kubectl -n demo delete pod tenant --grace-period=0 --force >/dev/null 2>&1
ready helpfulness
watched 2 1

[[ ${FULL:-} ]] || exit 0
claim "one replica that may not be missing: nothing is touched"
on_gpus tiny-reward-v2-shifted 1 0 1 | apply
ready helpfulness
pods() { kubectl -n demo get pods -l betterai.dev/model=helpfulness,betterai.dev/component=server -o jsonpath='{.items[*].metadata.uid}'; }
for ((i = 0; i < 300; i++)); do [[ $(pods | wc -w) != 1 ]] || break; sleep 0.1; done
before=$(pods)
on_gpus tiny-reward-v1 1 0 1 | apply
stalled helpfulness InsufficientCapacity "raise maxSurge"
same "$(pods)" "$before" "pods"
