#!/usr/bin/env bash
# The rules are about series that are there, in a real Prometheus.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[[ $cluster == local ]] || { claim "skipped: it starts a Prometheus beside the cluster"; exit 0; }

folder=$root/manifests/components/prometheus
here=$run/monitoring programs=$(prometheus)
rm -rf "$here" && mkdir -p "$here/data"
sed -n '/^  groups:/,$s/^  //p' "$folder/rules.yaml" >"$here/groups.yaml"
cp "$folder/rules-test.yaml" "$here/"

claim "the rules are rules, and alert when they should and not otherwise"
"$programs/promtool" check rules "$here/groups.yaml" >"$here/log" && "$programs/promtool" test rules "$here/rules-test.yaml" >>"$here/log" ||
    broken "$(cat "$here/log")"
mkdir "$here/overlay"
printf 'resources: [%s]\ncomponents: [%s]\n' "$(realpath --relative-to="$here/overlay" "$root/manifests/base")" \
    "$(realpath --relative-to="$here/overlay" "$folder")" >"$here/overlay/kustomization.yaml"
same "$(kubectl kustomize "$here/overlay" | grep -cE '^kind: (PodMonitor|PrometheusRule)$')" 3 "monitors and rules in an overlay"

# Debian's Prometheus finds no pods by itself: it is told of those that docs/monitoring.md chooses.
kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness
targets() { # namespace, selector
    kubectl -n "$1" get pods -l "$2" -o go-template='{{range .items}}{{$pod := .}}{{range .spec.containers}}{{range .ports}}{{if eq .name "http"}}
      - {targets: ["{{$pod.status.podIP}}:{{.containerPort}}"], labels: {namespace: {{$pod.metadata.namespace}}, pod: {{$pod.metadata.name}}, model: "{{index $pod.metadata.labels "betterai.dev/model"}}", component: "{{index $pod.metadata.labels "betterai.dev/component"}}"}{{"}"}}{{end}}{{end}}{{end}}{{end}}'
}
{
    printf 'global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [groups.yaml]\nscrape_configs:\n  - job_name: betterai\n    static_configs:'
    targets betterai-system app.kubernetes.io/name=betterai-operator
    targets demo 'betterai.dev/component in (router,server)'
} >"$here/prometheus.yml"
node=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
"$root/e2e/cluster/local" inside "$programs/prometheus" --config.file="$here/prometheus.yml" \
    --storage.tsdb.path="$here/data" --web.listen-address="$node:9091" 2>"$run/logs/monitoring.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
ask() { "$root/e2e/cluster/local" inside curl -sf --data-urlencode "query=$1" "http://$node:9091/api/v1/query"; }
count() { ask "$1" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["data"]["result"]))'; }
reaches() { # query, least
    local i
    for ((i = 0; i < 300; i++)); do (($(count "$1" 2>/dev/null || echo 0) < $2)) || return 0; sleep 0.2; done
    broken "$1 has $(count "$1") series, not $2"
}

claim "it finds the operators, the routers and the scoring pods, and no alert is on"
reaches 'up == 1 and on(pod) betterai_operator_crd_missing' 2
reaches 'up{component="router"} == 1' 2
reaches 'up{component="server"} == 1' 2
client monitored load --url $url --users 100 --duration 5 >/dev/null
reaches 'model:reward_requests:rate5m{model="helpfulness"} > 0' 1
reaches 'model:reward_request_duration_seconds:p95_5m{model="helpfulness"} > 0' 1
reaches 'betterai_operator_reward_models{phase="Ready"} == 1' 1
same "$(count 'ALERTS{alertstate="firing"}')" 0 "alerts that are on"

claim "every series that a rule is about is there (those of experiments come with one)"
for name in $(sed 's/model:[a-z0-9_:]*//g' "$here/groups.yaml" | grep -oE '\b(reward_|betterai_operator_)[a-z_]+' | sort -u | grep -v left_alone); do
    (($(count "$name"))) || broken "nobody exports $name"
done
