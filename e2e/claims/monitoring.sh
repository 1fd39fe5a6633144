#!/usr/bin/env bash
# The rules are about series that are there, in a real Prometheus.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$root/e2e/scraped.sh"
[[ $cluster == local ]] || { claim "skipped: it starts a Prometheus beside the cluster"; exit 0; }

folder=$root/manifests/components/prometheus
here=$run/monitoring programs=$(prometheus)
rm -rf "$here" && mkdir -p "$here"
sed -n '/^  groups:/,$s/^  //p' "$folder/rules.yaml" >"$here/groups.yaml"
cp "$folder/rules-test.yaml" "$here/"

claim "the rules are rules, and alert when they should and not otherwise"
"$programs/promtool" check rules "$here/groups.yaml" >"$here/log" && "$programs/promtool" test rules "$here/rules-test.yaml" >>"$here/log" ||
    broken "$(cat "$here/log")"
mkdir "$here/overlay"
printf 'resources: [%s]\ncomponents: [%s]\n' "$(realpath --relative-to="$here/overlay" "$root/manifests/base")" \
    "$(realpath --relative-to="$here/overlay" "$folder")" >"$here/overlay/kustomization.yaml"
same "$(kubectl kustomize "$here/overlay" | grep -cE '^kind: (PodMonitor|PrometheusRule)$')" 3 "monitors and rules in an overlay"

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness
scrape monitoring 9091

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
