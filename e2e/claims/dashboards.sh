#!/usr/bin/env bash
# Every query of every dashboard is one, and has data in a real Prometheus once a model, a rollout and an experiment
# have had traffic.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$root/e2e/scraped.sh"
[[ $cluster == local ]] || { claim "skipped: it starts a Prometheus beside the cluster"; exit 0; }

rm -rf "$run/dashboards"
folder=$root/manifests/components/grafana
claim "the component puts each dashboard into a ConfigMap that Grafana's sidecar finds"
mkdir -p "$run/dashboards/overlay"
printf 'components: [%s]\n' "$(realpath --relative-to="$run/dashboards/overlay" "$folder")" >"$run/dashboards/overlay/kustomization.yaml"
kubectl kustomize "$run/dashboards/overlay" >"$run/dashboards/all.yaml"
kubectl create --dry-run=server -f "$run/dashboards/all.yaml" >/dev/null
same "$(grep -c '^    grafana_dashboard: "1"$' "$run/dashboards/all.yaml")" "$(ls "$folder"/dashboards/*.json | wc -l)" "ConfigMaps"

# A rollout that has ended, and an experiment that runs, with feedback.
kubectl -n demo delete abx v2-vs-v1 --ignore-not-found >/dev/null
kubectl -n demo delete rwm helpfulness helpfulness-v2 --ignore-not-found --wait >/dev/null
model tiny-reward-v2 | apply
named helpfulness-v2 tiny-reward-v2 | apply
ready helpfulness
model tiny-reward-v1 | apply
ready helpfulness
ready helpfulness-v2
kubectl -n demo apply -f "$root/manifests/samples/experiment.yaml" >/dev/null
kubectl -n demo wait --for=jsonpath='{.status.phase}'=Running abx/v2-vs-v1 --timeout=60s >/dev/null
scrape dashboards 9092
reaches 'up == 1' 7 # two operators, and routers and scoring pods
client watched users --url $url --users 300 --rate 100 --duration 8 --event accepted --chance v1=0.3 --chance v2=0.5 >/dev/null

claim "every query has data, as seen by routers and by scoring pods"
"$root/e2e/cluster/local" inside python3 - "$prometheus_url" "$folder"/dashboards/*.json <<'EOT' || exit 1
import json, re, sys, urllib.error, urllib.parse, urllib.request

def series(query):
    data = urllib.parse.urlencode({"query": query}).encode()
    try:
        with urllib.request.urlopen(sys.argv[1] + "/api/v1/query", data) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as refusal:
        sys.exit(f"BROKEN: Prometheus refuses {query}: {refusal.read().decode()}")

asked = set()
for file in sys.argv[2:]:
    with open(file, encoding="utf-8") as text:
        panels = json.load(text)["panels"]
    for target in (target for panel in panels for target in panel.get("targets", [])):
        for component in ["router", "server"]:
            # As Grafana would send it for all namespaces and models.
            known = {"namespace": ".*", "model": ".*", "component": component, "__rate_interval": "5m"}
            asked.add(re.sub(r"\$(\w+)", lambda name: known[name[1]], target["expr"]))
for query in sorted(asked):
    # Only an operator that has been interfered with writes what changes nothing.
    if not series(query) and "noop_writes" not in query:
        sys.exit(f"BROKEN: no data: {query}")
print(f"    {len(asked)} queries", file=sys.stderr)
EOT
kubectl -n demo delete abx v2-vs-v1 >/dev/null
kubectl -n demo delete rwm helpfulness-v2 --wait >/dev/null
