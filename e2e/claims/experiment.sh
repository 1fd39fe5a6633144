#!/usr/bin/env bash
# An experiment: users are dealt to two models, the better one is promoted through the endpoint's rollout, and Git's
# fields stay as they were.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

experiment() { # more lines of the spec
    cat "$root/manifests/samples/experiment.yaml"
    printf '%s\n' "$@"
}
# Everybody is answered by control; v2 scores the same afterwards.
paired() { # more lines of the spec
    sed '/^  metrics:/,$d' "$root/manifests/samples/experiment.yaml"
    cat <<EOT2
  mode: Paired
  metrics:
    - name: prefers
      role: Goal
      kind: PairedAccuracy
      source: {preferences: {}}
      direction: Increase
      minimumEffect: {absolute: "0.05"}
EOT2
    printf '%s\n' "$@"
}
of() { kubectl -n demo get abx v2-vs-v1 -o "jsonpath=$1"; } # path
comes() { # path, value, seconds
    local i
    for ((i = 0; i < 5 * $3; i++)); do
        [[ $(of "$1" 2>/dev/null) != "$2" ]] || return 0
        sleep 0.2
    done
    broken "$1 is $(of "$1"), not $2: $(of '{.status.message}')"
}
quick='  schedule: {minDuration: 10s, maxDuration: 20m}'
looks='  analysis: {interval: 2s}'

kubectl -n demo delete abx v2-vs-v1 --ignore-not-found >/dev/null
kubectl -n demo delete rwm helpfulness helpfulness-v2 --ignore-not-found --wait >/dev/null
model tiny-reward-v1 | apply
named helpfulness-v2 tiny-reward-v2 | apply
ready helpfulness
ready helpfulness-v2
before=$(kubectl -n demo get rwm helpfulness -o jsonpath='{.spec}')
old=$(get helpfulness '{.status.stable.revision}')

claim "users of v2 are content more often: the verdict is Promote, after approval it is live, and nobody has switched"
experiment "$quick" "$looks" | apply
comes '{.status.phase}' Running 60
start_client users users --url $url --users 2500 --rate 100 --duration 60 --event accepted --chance v1=0.3 --chance v2=0.45
comes '{.status.decision.verdict}' Promote 90
claim "  $(of '{.status.decision.message}')"
same "$(of '{.status.decision.variant}')" v2 "the winner"
same "$(get helpfulness '{.status.stable.revision}')" "$old" "what serves before anybody has approved"
"$root/target/release/kubectl-rewards" -n demo approve abexperiment/v2-vs-v1 --revision v2 >&2
comes '{.status.phase}' Applied 90
same "$(get helpfulness "{.status.conditions[?(@.type=='Ready')].reason}")" PromotedAheadOfSpec "why the endpoint is ready"
[[ $(get helpfulness '{.status.stable.revision}') != "$old" ]] || broken "v2 was not promoted"
same "$(kubectl -n demo get rwm helpfulness -o jsonpath='{.spec}')" "$before" "what Git owns"
why=$("$root/target/release/kubectl-rewards" explain helpfulness -n demo)
[[ $why == *"path: tiny-reward-v2"* ]] || broken "explain does not say what to commit: $why"
report=$(finish_client users)
claim "  $report"
no_failure "$report"
[[ $report == *'"switched":0,'* ]] || broken "users met two variants: $report"
# The winner's users never leave it; the others come to it once.
[[ $report == *'"most_moves":1,'* && $report != *'"moved":{'*'"v2":'*'"most_moves"'* ]] || broken "users went back: $report"
claim "  $(of '{range .status.results[*]}{.metric}/{.variant}: {.effect} ({.lower} to {.upper}); {end}')"

kubectl -n demo delete abx v2-vs-v1 >/dev/null

claim "users of the regressed v3 are content less often: it is rolled back long before minDuration, by itself"
named helpfulness-v2 tiny-reward-v3-regressed | apply
ready helpfulness-v2
experiment '  schedule: {minDuration: 1h, maxDuration: 2h}' "$looks" | apply
comes '{.status.phase}' Running 60
start_client users users --url $url --users 4000 --rate 100 --duration 30 --event accepted --chance v1=0.45 --chance v2=0.15
comes '{.status.decision.verdict}' RollBack 60
claim "  $(of '{.status.decision.message}')"
comes '{.status.phase}' Applied 30
report=$(finish_client users)
claim "  $report"
no_failure "$report"
kubectl -n demo delete abx v2-vs-v1 >/dev/null

claim "two RewardModels of one model: Inconclusive at maxDuration, and everybody is control's again"
kubectl -n demo delete rwm helpfulness --wait >/dev/null # it serves v2, ahead of its spec
model tiny-reward-v1 | apply
ready helpfulness
named helpfulness-v2 tiny-reward-v1 | apply
ready helpfulness-v2
experiment '  schedule: {minDuration: 5s, maxDuration: 20s}' "$looks" | apply
comes '{.status.phase}' Running 60
start_client users users --url $url --users 2500 --rate 100 --duration 20 --event accepted --chance v1=0.4 --chance v2=0.4
comes '{.status.decision.verdict}' Inconclusive 60
claim "  $(of '{.status.decision.message}')"
comes '{.status.phase}' Applied 30
report=$(finish_client users)
claim "  $report"
no_failure "$report"
kubectl -n demo delete abx v2-vs-v1 >/dev/null

claim "Paired, with labelled pairs that both score: the same verdict of far fewer"
named helpfulness-v2 tiny-reward-v2 | apply
ready helpfulness-v2
paired "$quick" "$looks" | apply
comes '{.status.phase}' Running 60
taken=$(client feedback feedback --url $url)
claim "  $taken"
comes '{.status.decision.verdict}' Promote 60
claim "  $(of '{.status.decision.message}')"
claim "  $(of '{range .status.results[*]}{.metric}/{.variant}: {.effect} ({.lower} to {.upper}) of {.count}; {end}')"
same "$(of '{.status.decision.variant}')" v2 "the winner"
kubectl -n demo delete abx v2-vs-v1 >/dev/null
kubectl -n demo delete rwm helpfulness helpfulness-v2 --wait >/dev/null
