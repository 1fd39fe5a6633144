#!/usr/bin/env bash
# Operators of some namespaces: one of its own, without a right beyond it, beside one of those that carry a label.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
audit=$run/logs/audit.log
skip=$(stat -c %s "$audit")
overlay=$(mktemp -d -p "$root/manifests")

away() {
    rm -rf "$overlay"
    kubectl delete namespace team --ignore-not-found --wait=false >/dev/null
    kubectl delete clusterrole,clusterrolebinding betterai-operator-namespaces --ignore-not-found >/dev/null
    kubectl -n betterai-system set env deployment/betterai-operator OPERATOR_NAMESPACE_SELECTOR- >/dev/null
    kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=90s >/dev/null
}
trap away EXIT
writes() { # whose operator, where
    tail -c "+$((skip + 1))" "$audit" | grep "\"username\":\"system:serviceaccount:$1:betterai-operator\"" | grep -v '"resource":"leases"' |
        grep -c "\"namespace\":\"$2\"" || true
}
install_overlay() { kubectl kustomize "$overlay" | with_images | kubectl apply --server-side --force-conflicts -f - >/dev/null; }
observed() { kubectl -n "$1" get rwm "$2" -o jsonpath='{.metadata.generation} {.status.observedGeneration}'; } # namespace, name
taken_up() { # namespace, name
    local i now
    for ((i = 0; i < 300; i++)); do
        now=$(observed "$1" "$2")
        [[ $now != "${now#* } ${now#* }" ]] || return 0
        sleep 0.2
    done
    broken "nobody looks at $2 in $1: $now"
}

claim "an operator of its own namespace runs with no right beyond it"
kubectl create namespace team --dry-run=client -o yaml | kubectl apply --server-side -f - >/dev/null
named other tiny-reward-v1 | kubectl -n team apply -f - >/dev/null
taken_up team other # by the one that acts in all
cat >"$overlay/kustomization.yaml" <<EOT
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../base]
components: [../components/namespaces]
EOT
install_overlay
kubectl label --overwrite namespace demo betterai.dev/operator=betterai-system >/dev/null
kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=90s >/dev/null
skip=$(stat -c %s "$audit")
cat >"$overlay/kustomization.yaml" <<EOT
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: team
resources: [../overlays/namespaced]
patches: [{target: {kind: RoleBinding}, patch: '[{"op": "replace", "path": "/subjects/0/namespace", "value": "team"}]'}]
EOT
install_overlay
kubectl -n team rollout status deployment/betterai-operator --timeout=90s >/dev/null
for right in "list rewardmodels.betterai.dev" "list pods" "create deployments.apps" "list namespaces" "get secrets"; do
    same "$(kubectl auth can-i $right --as=system:serviceaccount:team:betterai-operator -n demo 2>/dev/null)" no "whether it may $right in demo"
done

claim "each acts in its own namespaces, and not in the other's"
named other tiny-reward-v2 | kubectl -n team apply -f - >/dev/null
taken_up team other
model tiny-reward-v2 | apply
ready helpfulness
model tiny-reward-v1 | apply
ready helpfulness
(($(writes team team) > 0 && $(writes betterai-system demo) > 0)) || broken "one of them did nothing: $(writes team team), $(writes betterai-system demo)"
same "$(writes betterai-system team) $(writes team demo)" "0 0" "writes in the other's namespaces"

claim "a namespace that loses its label is left alone, and serves; with its label it is taken up again"
kubectl label namespace demo betterai.dev/operator- >/dev/null
sleep 1 # the operator hears of it
model tiny-reward-v2 | apply
sleep 3 # nothing happens, so there is nothing to wait for
now=$(observed demo helpfulness)
[[ $now != "${now#* } ${now#* }" ]] || broken "it was looked at: $now"
accuracy_is "$(client left-alone evaluate --url $url)" 0.788
kubectl label namespace demo betterai.dev/operator=betterai-system >/dev/null
ready helpfulness
