#!/usr/bin/env bash
# A new revision is shadowed, judged by its users' labels, shifted in, and refused where it is worse.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

judged() { sed "s|path: tiny-reward-v1|path: $1|" "$root/manifests/samples/judged.yaml"; } # folder
verdicts() { get helpfulness '{range .status.gates[*]}{.name}={.verdict}({.samples}) {end}'; }
alike() { # folder: a revision that should score as the one before
    judged "$1" | sed '/^    steps:/,/^    rollbackWindow:/{/rollbackWindow/!d}'
    cat <<EOT
    steps: [{shadow: {percent: 100, minPairs: 1000}}, {gate: {names: [order, shift], maxDuration: 2m}}]
    gates:
      - {name: order, interval: 2s, paired: {metric: RankAgreement, within: "0.3"}}
      - {name: shift, interval: 2s, paired: {metric: ScoreShift, within: "0.1"}}
EOT
}
pairs_from_users() { client feedback feedback --url $url; }

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null # it may remember a failure
claim "v1 → v2 is shadowed, judged and promoted under load; no request fails"
model tiny-reward-v1 | apply
ready helpfulness
old=$(get helpfulness '{.status.stable.revision}')
start_client judged load --url $url --users 3000 --duration 300
judged tiny-reward-v2 | apply
becomes '{.status.rollout.step.kind}' Shadow
claim "$(pairs_from_users)"
becomes '{.status.rollout.step.kind}' Gate 90
claim "operator: all pods anew; what was counted is not counted twice"
kubectl -n betterai-system delete pod -l app.kubernetes.io/name=betterai-operator --wait=false >/dev/null
ready helpfulness
[[ $(get helpfulness '{.status.stable.revision}') != "$old" ]] || broken "the old revision is still the stable one"
claim "$(verdicts)"
for gate in people errors; do
    [[ $(verdicts) == *"$gate=Pass("* ]] || broken "gate $gate: $(verdicts)"
done
report=$(end_client judged)
claim "$report"
no_failure "$report"

claim "the regressed v3 is refused by its users' labels before any request of a user reaches it"
good=$(get helpfulness '{.status.stable.revision}')
start_client refused load --url $url --users 3000 --duration 300
judged tiny-reward-v3-regressed | apply
becomes '{.status.rollout.step.kind}' Shadow
claim "$(pairs_from_users)"
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" GateFailed 90
claim "$(get helpfulness "{.status.conditions[?(@.type=='Stalled')].message}")"
same "$(get helpfulness '{.status.stable.revision}')" "$good" "the stable revision"
report=$(end_client refused)
claim "$report"
no_failure "$report"
[[ $(python3 -c 'import json, sys; print(len(json.loads(sys.argv[1])["model_versions"]))' "$report") == 1 ]] ||
    broken "users met the new revision: $report"

claim "v2 with all its scores shifted orders requests as v2 does, and is told from it"
start_client shifted load --url $url --users 3000 --duration 300
alike tiny-reward-v2-shifted | apply
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" GateFailed 90
claim "$(kubectl -n demo get rwm helpfulness -o jsonpath='{range .status.gates[*]}{.name} {.verdict}: {.message}{"\n"}{end}')"
# The order may still be collecting its last pairs when the shift is sure already.
[[ $(verdicts) == *"shift=Fail("* && $(verdicts) != *"order=Fail("* ]] || broken "$(verdicts)"
report=$(end_client shifted)
claim "$report"
no_failure "$report"

[[ ${FULL:-} ]] || { claim "skipped: an error rate of 3 % beside one of 0.2 %; FULL=1 runs it"; exit 0; }
"$root/e2e/cluster/images" faulty
fails() { # of a thousand requests, release
    cat <<EOT
apiVersion: betterai.dev/v1alpha1
kind: RewardModel
metadata: {name: helpfulness}
spec:
  model: {source: {pvc: {claimName: models, path: tiny-reward-v2}}}
  server: {image: "$(image faulty)", env: [{name: FAULTY_FAILS_OF_1000, value: "$1"}, {name: RELEASE, value: "$2"}]}
  traffic: {key: {header: x-user}}
  rollout:
    steps: [{setWeight: 50}, {gate: {names: [errors], maxDuration: 2m}}]
    gates: [{name: errors, interval: 1s, minSamples: 200, router: {metric: ErrorRate, compareToStable: {margin: "0.01", direction: Decrease}}}]
    rollbackWindow: {warmReplicas: 0}
EOT
}
kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
claim "a revision that fails 3 % of its requests beside 0.2 % is caught, and one that fails 0.2 % too is not"
fails 2 a | apply
ready helpfulness
start_client errors load --url $url --users 3000 --duration 400
fails 2 b | apply
ready helpfulness
same "$(get helpfulness '{.status.history[0].outcome}')" Promoted "the equal one"
claim "$(verdicts)"
fails 30 c | apply
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" CutOff 90 # the routers compare, too, and are the faster ones
claim "$(get helpfulness "{.status.conditions[?(@.type=='Stalled')].message}")"
report=$(end_client errors)
claim "$report"
no_failure "$report"
