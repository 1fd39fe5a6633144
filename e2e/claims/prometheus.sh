#!/usr/bin/env bash
# Gates that ask a real Prometheus: only numbers beyond the bound take anything back.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: the Prometheus of another cluster is not ours to stop"; exit 0; }

program=$(prometheus)/prometheus
node=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
address=http://$node:9090 server=
starts() {
    echo 'global: {}' >"$run/prometheus/config.yml"
    "$root/e2e/cluster/local" inside "$program" --config.file="$run/prometheus/config.yml" \
        --storage.tsdb.path="$run/prometheus/data" --web.listen-address="$node:9090" 2>"$run/logs/prometheus.log" &
    server=$!
    until "$root/e2e/cluster/local" inside curl -sf "$address/-/ready" >/dev/null; do sleep 0.2; done
}
stops() { kill "$server" && wait "$server" || true; }
operator_asks() { # address, or nothing for none
    kubectl -n betterai-system set env deployment/betterai-operator "OPERATOR_PROMETHEUS_URL${1:+=}${1:--}" >/dev/null
    kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=90s >/dev/null
}
asks() { # folder, queries of gates: name=query...
    model "$1" | sed '/^  rollout:/d'
    local gate names=("${@:2}")
    names=("${names[@]%%=*}")
    printf '  rollout:\n    rollbackWindow: {duration: 10m, warmReplicas: "100%%"}\n    steps: [{setWeight: 10}, {gate: {names: [%s], maxDuration: 5m}}]\n    gates:\n' "$(IFS=,; echo "${names[*]}")"
    for gate in "${@:2}"; do
        printf "      - {name: %s, interval: 1s, prometheus: {query: '%s', threshold: {max: \"1\"}}}\n" "${gate%%=*}" "${gate#*=}"
    done
}
verdict() { get helpfulness "{.status.gates[?(@.name=='$1')].verdict}"; }
paused() { becomes "{.status.conditions[?(@.type=='Paused')].reason}" MetricsUnavailable 90; }

trap 'stops 2>/dev/null; operator_asks ""' EXIT
starts
operator_asks "$address"
kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | sed '/^  rollout:/d' | apply
ready helpfulness
old=$(get helpfulness '{.status.stable.revision}')

claim "nothing, NaN, two series and a string take nothing back: the rollout waits for a human or for numbers"
asks tiny-reward-v2 nothing=nobody_exports_this nan=vector\(0\)/vector\(0\) 'two=vector(0) or label_replace(vector(0), "a", "b", "", "")' 'word="1"' fine=vector\(0\) | apply
paused
for gate in nothing nan two word; do
    [[ $(verdict $gate) == NoData || $(verdict $gate) == Error ]] || broken "$gate: $(verdict $gate)"
done
same "$(verdict fine)" Pass "the gate with a number"
same "$(get helpfulness '{.status.traffic[1].specWeight}')" 10 "the share of the new revision"

claim "a Prometheus that is dead pauses, and the rollout goes on by itself when it is back"
stops
model tiny-reward-v1 | sed '/^  rollout:/d' | apply # which gives the rollout up
ready helpfulness
asks tiny-reward-v2 fine=vector\(0\) | apply
paused
same "$(get helpfulness '{.status.traffic[1].specWeight}')" 10 "the share of the new revision"
starts
ready helpfulness
[[ $(get helpfulness '{.status.stable.revision}') != "$old" ]] || broken "v2 was not promoted"

claim "a gate that fails within the rollback window goes back to the warm revision in one move"
now=$(date +%s)
kubectl -n demo delete rwm helpfulness --wait >/dev/null
model tiny-reward-v1 | sed '/^  rollout:/d' | apply
ready helpfulness
asks tiny-reward-v2 "later=vector(2 * (time() > bool $((now + 30))))" | apply
for ((i = 0; i < 125; i++)); do [[ $(get helpfulness '{.status.stable.revision}') == "$old" ]] || break; sleep 0.2; done
[[ $(get helpfulness '{.status.stable.revision}') != "$old" ]] || broken "v2 was not promoted"
stalled helpfulness GateFailed "later"
becomes '{.status.stable.revision}' "$old" 30
claim "$(get helpfulness "{.status.conditions[?(@.type=='Stalled')].message}")"
kubectl -n demo delete rwm helpfulness --wait >/dev/null
model tiny-reward-v2 | apply
ready helpfulness
