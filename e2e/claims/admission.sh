#!/usr/bin/env bash
# What the policies of manifests/components/admission refuse, on a real API server, and what they let pass.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

space=guarded policies=$root/manifests/components/admission
kubectl delete namespace $space --ignore-not-found --wait >/dev/null
trap 'kubectl delete --ignore-not-found -f "$policies/pinned.yaml" -f "$policies/commands.yaml" >/dev/null
    kubectl delete namespace $space --wait=false >/dev/null' EXIT
kubectl create namespace $space >/dev/null
kubectl apply --server-side -f "$policies/pinned.yaml" -f "$policies/commands.yaml" >/dev/null
for who in editor admin; do
    kubectl -n $space create rolebinding $who --clusterrole="${who/editor/edit}" --user=$who >/dev/null
done
as() { kubectl --as="$1" -n $space "${@:2}"; } # who, words
sample() { sed "s|^  model:|&\n    $2|; $1" "$root/manifests/samples/helpfulness.yaml"; } # change, a line of its model
refused() { # what, words of the message; the command's manifest is on stdin
    local what=$1 words=$2 said
    shift 2
    ! said=$("$@" 2>&1) || broken "$what was accepted"
    [[ $said == *"$words"* ]] || broken "$what: the message does not say '$words': $said"
}
create=(kubectl -n $space create --dry-run=server -f -)
digest="digest: sha256:$(printf '1%.0s' {1..64})"
pinned() { sample "$1" "$digest"; } # change

claim "a namespace that does not ask takes models as they come, and commands from editors"
sample "" "" | kubectl -n $space create -f - >/dev/null
as editor annotate rwm helpfulness betterai.dev/command=approve/1 >/dev/null

claim "one that asks takes only pinned models, hubs by commit, images by digest; the message says what to do"
kubectl label namespace $space betterai.dev/require-pinned=true betterai.dev/guard-approvals=true >/dev/null
for ((i = 0; i < 50; i++)); do sample "s/name: helpfulness/&-2/" "" | "${create[@]}" >/dev/null 2>&1 || break; sleep 0.2; done
sample "s/name: helpfulness/&-2/" "" | refused "a model without a digest" "set spec.model.digest" "${create[@]}"
hub() { sed "s/name: helpfulness-hub/&-2/; s/^  model:/&\n    $digest/; $1" "$root/manifests/samples/from-hub.yaml"; } # change
hub 's/revision: .*/revision: main\n        allowMutable: true/' | refused "a branch" "a commit of 40 hex digits" "${create[@]}"
hub 's/revision: .*/&\n        allowMutable: true/' | refused "a commit that may move" "without allowMutable" "${create[@]}"
hub '' | "${create[@]}" >/dev/null
image() { pinned "s/name: helpfulness/&-2/; \$a\\  server: {image: \"$1\"}"; } # image
image example/server:1 | refused "an image by tag" "NAME@sha256:DIGEST" "${create[@]}"
image "example/server@sha256:$(printf '2%.0s' {1..64})" | "${create[@]}" >/dev/null
pinned 's/name: helpfulness/&-2/; $a\  traffic: {router: {image: example/router:1}}' | refused "a router's image by tag" "spec.traffic.router.image" "${create[@]}"

claim "a model that was there before is scaled, marked and pinned, and not changed to another that is not pinned"
kubectl -n $space scale rwm helpfulness --replicas=3 >/dev/null
kubectl -n $space annotate rwm helpfulness touched=1 >/dev/null
sample "s/tiny-reward-v1/tiny-reward-v2/" "" | refused "another model" "set spec.model.digest" kubectl -n $space apply -f -
pinned "" | kubectl -n $space apply -f - >/dev/null 2>&1

claim "approve and promote take more than editing; every other command does not"
for verb in approve promote approve/v2 promote/1f0c2ab9d4; do
    refused "an editor's $verb" "rewardmodels/${verb%%/*}.betterai.dev" as editor annotate --overwrite rwm helpfulness betterai.dev/command=$verb/2
done
for verb in abort pause resume retry rollback skip-step; do
    as editor annotate --dry-run=server --overwrite rwm helpfulness betterai.dev/command=$verb/2 >/dev/null
done
as editor annotate rwm helpfulness touched=2 --overwrite >/dev/null # beside an approve that stands there still
as admin annotate --dry-run=server --overwrite rwm helpfulness betterai.dev/command=promote/2 >/dev/null
same "$(as editor auth can-i update rewardmodels.betterai.dev --subresource=approve || true)" no "an editor's right"
kubectl -n $space create rolebinding releases --clusterrole=betterai-approve --user=editor >/dev/null
for ((i = 0; i < 50; i++)); do as editor annotate --overwrite rwm helpfulness betterai.dev/command=approve/3 >/dev/null 2>&1 && break; sleep 0.2; done
same "$(kubectl -n $space get rwm helpfulness -o jsonpath='{.metadata.annotations.betterai\.dev/command}')" approve/3 "the command of an editor who may approve"
kubectl -n $space delete rolebinding releases >/dev/null

claim "so it is with an experiment, also one that is made with the command in it"
kubectl -n $space create -f "$root/manifests/samples/experiment.yaml" >/dev/null
for ((i = 0; i < 50; i++)); do as editor annotate --dry-run=server --overwrite abx v2-vs-v1 betterai.dev/command=approve/1 >/dev/null 2>&1 || break; sleep 0.2; done
refused "an editor's approve of an experiment" "abexperiments/approve.betterai.dev" as editor annotate --overwrite abx v2-vs-v1 betterai.dev/command=approve/v2/1
as editor annotate --dry-run=server abx v2-vs-v1 betterai.dev/command=abort/1 >/dev/null
as admin annotate --dry-run=server abx v2-vs-v1 betterai.dev/command=approve/v2/1 >/dev/null
sed 's/name: v2-vs-v1/&-2\n  annotations: {betterai.dev\/command: approve\/v2\/1}/' "$root/manifests/samples/experiment.yaml" |
    refused "an experiment with approve in it" "abexperiments/approve.betterai.dev" as editor create -f -
