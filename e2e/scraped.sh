# shellcheck shell=bash
# A real Prometheus beside the local cluster that scrapes the operator and the pods of `demo`; sourced after lib.sh.
# Debian's Prometheus finds no pods by itself: it is told of those that docs/monitoring.md chooses, as they are now.

targets() { # namespace, selector
    kubectl -n "$1" get pods -l "$2" -o go-template='{{range .items}}{{$pod := .}}{{range .spec.containers}}{{range .ports}}{{if eq .name "http"}}
      - {targets: ["{{$pod.status.podIP}}:{{.containerPort}}"], labels: {namespace: {{$pod.metadata.namespace}}, pod: {{$pod.metadata.name}}, model: "{{index $pod.metadata.labels "betterai.dev/model"}}", component: "{{index $pod.metadata.labels "betterai.dev/component"}}"}{{"}"}}{{end}}{{end}}{{end}}{{end}}'
}
scrape() { # name, port; asks with the rules in groups.yaml of the folder $run/NAME, and ends with the claim
    local here=$run/$1 port=$2 node
    mkdir -p "$here/data"
    sed -n '/^  groups:/,$s/^  //p' "$root/manifests/components/prometheus/rules.yaml" >"$here/groups.yaml"
    {
        printf 'global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [groups.yaml]\nscrape_configs:\n  - job_name: betterai\n    static_configs:'
        targets betterai-system app.kubernetes.io/name=betterai-operator
        targets demo 'betterai.dev/component in (router,server)'
    } >"$here/prometheus.yml"
    node=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
    prometheus_url=http://$node:$port
    "$root/e2e/cluster/local" inside "$(prometheus)/prometheus" --config.file="$here/prometheus.yml" \
        --storage.tsdb.path="$here/data" --web.listen-address="$node:$port" 2>"$run/logs/$1.log" &
    prometheus_process=$!
    trap 'kill $prometheus_process 2>/dev/null || true' EXIT
}
ask() { "$root/e2e/cluster/local" inside curl -s --data-urlencode "query=$1" "$prometheus_url/api/v1/query"; }
# How many series there are; nothing where the query is refused.
count() { ask "$1" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["data"]["result"]))' 2>/dev/null; }
reaches() { # query, least
    local i
    for ((i = 0; i < 300; i++)); do (($(count "$1" || echo 0) < $2)) || return 0; sleep 0.2; done
    broken "$1 has $(count "$1") series, not $2"
}
