#!/usr/bin/env bash
# Operators that are killed at random moments of a rollout, and two that act at once. FULL=1: thirty kills, and
# two leaders for a minute.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
audit=$run/logs/audit.log
kills=$([[ ${FULL:-} ]] && echo 30 || echo 3)
rounds=$([[ ${FULL:-} ]] && echo 3 || echo 1)

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
ready helpfulness
skip=$(stat -c %s "$audit")

claim "operators that are killed $kills times in a rollout enter each step once, and fail no request"
start_client leaders load --url $url --duration $((kills * 60))
stepped tiny-reward-v2 | apply
for ((i = 0; i < kills; i++)); do
    sleep "$((RANDOM % 2)).$((RANDOM % 10))" # the moment is random on purpose
    kubectl -n betterai-system delete pod -l app.kubernetes.io/name=betterai-operator --grace-period=0 --force >/dev/null 2>&1
    # The next one has to act before it is killed, or a lease that runs out would hide what a kill does.
    kubectl -n betterai-system wait --for=condition=Available deployment/betterai-operator --timeout=60s >/dev/null
done
ready helpfulness
report=$(end_client leaders)
claim "$report"
no_failure "$report"
claim "$("$root/target/release/claims" audit --log "$audit" --skip "$skip")"

claim "two operators that act at once enter each step once, and fail no request"
skip=$(stat -c %s "$audit")
start_client two load --url $url --duration $((rounds * 120))
"$root/e2e/cluster/local" inside env KUBECONFIG="$KUBECONFIG" POD_NAME=second \
    "$root/target/release/operator" run --namespace betterai-system --lease betterai-second \
    --server-image "$(image inference-server)" --listen 127.0.0.1:18080 >"$run/logs/second.log" 2>&1 &
second=$!
trap 'kill -TERM $second 2>/dev/null || true' EXIT
for ((i = 0; i < 100; i++)); do ! grep -q "this operator acts" "$run/logs/second.log" || break; sleep 0.1; done
# Nothing is warm, so that each goes through the steps.
cold() { stepped "$1" | sed 's/duration: 30m/warmReplicas: 0/'; }
cold tiny-reward-v2 | apply
ready helpfulness
for ((round = 1; round <= rounds; round++)); do
    cold tiny-reward-v$(((round + 1) % 2 + 1)) | apply
    ready helpfulness
done
report=$(end_client two)
claim "$report"
no_failure "$report"
verdict=$("$root/target/release/claims" audit --log "$audit" --skip "$skip")
claim "$verdict"
python3 -c 'import json, sys; sys.exit(len(json.loads(sys.argv[1])["writers"]) < 2)' "$verdict" || broken "only one of them wrote"
