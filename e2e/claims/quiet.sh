#!/usr/bin/env bash
# Where nothing is to be done, nothing is done.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
audit=$run/logs/audit.log
operator_user=system:serviceaccount:betterai-system:betterai-operator

# A PodDisruptionBudget's status follows its pods a moment later.
versions() { kubectl -n demo get rwm,deployments,services,controllerrevisions,jobs,configmaps,roles,rolebindings,serviceaccounts,networkpolicies -o jsonpath='{range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion} {end}'; }
# Of a resource; renewing the lease is no work.
writes() { grep "\"username\":\"$operator_user\"" "$audit" | grep -v '"resource":"leases"' | grep -c "\"resource\":\"${1:-}" || true; }

# Ready comes before rest: the routers' answers to the last table are still to come, and pods that leave.
at_rest() {
    local before now i
    before=$(versions)
    for ((i = 0; i < 30; i++)); do
        sleep 1
        now=$(versions)
        [[ $now != "$before" ]] || return 0
        before=$now
    done
    broken "no rest within 30 s: $(get helpfulness '{.status}')"
}

claim "the same manifest applied twice changes no version"
model tiny-reward-v2 | apply
ready helpfulness
at_rest
before=$(versions) status=$(get helpfulness '{.status}')
model tiny-reward-v2 | apply
sleep 2 # nothing happens, so there is nothing to wait for
[[ $(versions) == "$before" ]] || printf 'before: %s\nnow:    %s\n' "$status" "$(get helpfulness '{.status}')" >&2
same "$(versions)" "$before" "versions"

claim "the operator writes nothing while nothing happens (${IDLE_SECONDS:=10} s)"
before=$(writes)
((before > 0)) || broken "the audit log shows no write of the operator at all"
sleep "$IDLE_SECONDS"
same "$(writes)" "$before" "writes of the operator"

claim "marks that others leave on its objects are no reason to write"
before=$(writes)
for kind in deployment service controllerrevision pdb; do
    kubectl -n demo annotate "$kind" -l betterai.dev/model=helpfulness "touched=$RANDOM" --overwrite >/dev/null
    kubectl -n demo label "$kind" -l betterai.dev/model=helpfulness "touched=$RANDOM" --overwrite >/dev/null
done
sleep 3 # nothing happens, so there is nothing to wait for
same "$(writes)" "$before" "writes of the operator"

claim "a selector that somebody adds to is repaired, in one write"
before=$(writes services)
kubectl -n demo patch service helpfulness --type=merge -p '{"spec":{"selector":{"extra":"key"}}}' >/dev/null
added() { kubectl -n demo get service helpfulness -o jsonpath='{.spec.selector.extra}'; }
for ((i = 0; i < 50; i++)); do [[ -n $(added) ]] || break; sleep 0.2; done
same "$(added)" "" "the added key"
sleep 3 # nothing more happens, so there is nothing to wait for
same "$(($(writes services) - before))" 1 "writes of Services"

claim "an environment that somebody adds to is repaired, and the pods are as before"
deployment=$(kubectl -n demo get deployments -l betterai.dev/model=helpfulness,betterai.dev/component=server -o name)
environment() { kubectl -n demo get "$deployment" -o jsonpath='{.spec.template.spec.containers[0].env[*].name}'; }
before=$(environment)
kubectl -n demo set env "$deployment" ADDED=1 >/dev/null
for ((i = 0; i < 50; i++)); do [[ $(environment) != "$before" ]] || break; sleep 0.2; done
same "$(environment)" "$before" "environment"
kubectl -n demo rollout status "$deployment" --timeout=90s >/dev/null
two_pods
ready helpfulness

claim "pinning what runs, and taking the pin away, moves no pod"
before=$(pods)
digest=$(get helpfulness '{.status.model.digest}')
model tiny-reward-v2 "digest: $digest" | apply
ready helpfulness
model tiny-reward-v2 | apply
ready helpfulness
same "$(pods)" "$before" "pods"

claim "each promotion has an event that names its own revision"
for ((i = 0; i < 50; i++)); do
    told=$(kubectl -n demo get events.events.k8s.io -o jsonpath='{range .items[?(@.reason=="Promoted")]}{.related.name} {.note}{"\n"}{end}')
    [[ $told != *"revision $(get helpfulness '{.status.stable.revision}') takes"* ]] || break
    sleep 0.2
done
[[ $told == *"helpfulness-$(get helpfulness '{.status.stable.revision}') revision $(get helpfulness '{.status.stable.revision}') takes"* ]] ||
    broken "no event of the promotion: $told"
