#!/usr/bin/env bash
# A new revision in steps, under load: forward, back, and cut off.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

weights() { get helpfulness '{range .status.traffic[*]}{.specWeight}/{.appliedWeight}/{.routers} {end}'; }
stable() { get helpfulness '{.status.stable.revision}'; }

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null # it may remember a failure
claim "v1 → v2 through 10 and 50 %: no request fails, and wish and fact agree at each step"
model tiny-reward-v1 | apply # which keeps nothing warm: what is warm would take no steps
ready helpfulness
old=$(stable)
start_client steps load --url $url --duration 300
stepped tiny-reward-v2 | apply
for weight in 10 50; do
    becomes "{.status.traffic[1].appliedWeight}" $weight
    [[ $(weights) == "$((100 - weight))/$((100 - weight))/2/2 $weight/$weight/2/2 " ]] || broken "at $weight %: $(weights)"
    becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
done
ready helpfulness
[[ $(stable) != "$old" ]] || broken "the old revision is still the stable one"

claim "going back to what is warm is immediate, and takes no steps"
began=$(date +%s%N)
stepped tiny-reward-v1 | apply
becomes "{.status.stable.revision}" "$old"
claim "  after $((($(date +%s%N) - began) / 1000000)) ms"
ready helpfulness
report=$(end_client steps)
claim "$report"
no_failure "$report"

claim "a revision that gives every text one score is cut off, and the same manifest does not try it again"
start_client cut load --url $url --duration 300
stepped tiny-reward-v2-constant | apply
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" CutOff
same "$(stable)" "$old" "stable revision"
same "$(get helpfulness '{.status.history[0].outcome}')" RolledBack outcome
claim "  $(get helpfulness '{.status.history[0].reason}')"
kubectl -n demo annotate rwm helpfulness "touched=$RANDOM" --overwrite >/dev/null
report=$(end_client cut)
claim "$report"
no_failure "$report"
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" CutOff 5
stepped tiny-reward-v1 | apply
ready helpfulness

claim "abort takes everything back at once, also while a pod of the old revision is missing; the same manifest does not try again until retry"
stepped tiny-reward-v2 | sed 's/duration: 5s/duration: 10m/' | apply
becomes "{.status.traffic[1].appliedWeight}" 10
kubectl -n demo delete --force --grace-period=0 "$(kubectl -n demo get pods -l "betterai.dev/revision=$(stable)" -o name | head -1)" >/dev/null 2>&1
command abort
began=$(date +%s%N)
for ((i = 0; i < 50; i++)); do [[ $(get helpfulness '{.status.traffic[*].appliedWeight}') == *" 10" ]] || break; sleep 0.1; done
took=$((($(date +%s%N) - began) / 1000000))
claim "  off the new revision in every router after $took ms"
((took < 5000)) || broken "traffic is on the new revision still" # a second, on a machine that does nothing else
becomes "{.status.conditions[?(@.type=='Stalled')].reason}" AbortedByUser
same "$(get helpfulness '{.status.lastCommand.result}')" Done "the command"
same "$(stable)" "$old" "stable revision"
command retry
becomes "{.status.traffic[1].appliedWeight}" 10
command promote
ready helpfulness
same "$(get helpfulness '{.status.history[0].outcome}')" FastPromoted outcome

claim "where no pod may give its place, nothing is touched"
stepped tiny-reward-v1 | sed 's/maxSurge: 1/maxSurge: 0/; s/minAvailable: 50%/minAvailable: 100%/' | apply
stalled helpfulness InsufficientCapacity "raise maxSurge"
model tiny-reward-v2 | apply
ready helpfulness
