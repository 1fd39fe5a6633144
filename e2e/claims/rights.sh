#!/usr/bin/env bash
# What the operator and the routers may not do: asked of a real API server, and tried.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

operator=system:serviceaccount:betterai-system:betterai-operator
router=system:serviceaccount:demo:helpfulness-router
kubectl -n demo get rwm helpfulness >/dev/null 2>&1 || { model tiny-reward-v1 | apply; ready helpfulness; }
may() { # who, verb and resource in words, namespace; yes or no
    kubectl auth can-i $2 --as="$1" -n "$3" 2>/dev/null || true
}
all_no() { # who, namespace, rights
    local right who=$1 space=$2
    shift 2
    for right in "$@"; do same "$(may $who "$right" "$space")" no "whether ${who##*:} may $right in $space"; done
}

claim "the operator may neither read Secrets nor reach into pods, nor touch what is the cluster's"
all_no $operator demo "get secrets" "list secrets" "create secrets" "create pods" "delete pods" "create pods --subresource=exec" "get pods --subresource=log" \
    "create pods --subresource=eviction" "delete persistentvolumeclaims" "create persistentvolumeclaims" "create serviceaccounts --subresource=token" \
    "delete rewardmodels.betterai.dev" "create rewardmodels.betterai.dev" "update abexperiments.betterai.dev" \
    "patch abexperiments.betterai.dev" "delete abexperiments.betterai.dev" "escalate roles.rbac.authorization.k8s.io" \
    "bind roles.rbac.authorization.k8s.io" "delete networkpolicies.networking.k8s.io" "update rewardmodels.betterai.dev --subresource=approve"
all_no $operator betterai-system "list secrets" "update secrets" "delete secrets" "get secrets/another" "delete leases.coordination.k8s.io"
all_no $operator "" "get nodes" "list namespaces" "create clusterroles.rbac.authorization.k8s.io" \
    "create clusterrolebindings.rbac.authorization.k8s.io" "bind clusterroles.rbac.authorization.k8s.io" "impersonate users" \
    "update customresourcedefinitions.apiextensions.k8s.io" "create validatingwebhookconfigurations.admissionregistration.k8s.io"
same "$(may $operator "get secrets/betterai-admin-key" betterai-system)" yes "whether it may read its own key"

claim "it cannot give away, or take, what it does not have"
tried() { # what, words of kubectl
    local what=$1 said
    shift
    ! said=$(kubectl --as=$operator -n demo create --dry-run=server "$@" 2>&1) || broken "the operator could make $what"
    [[ $said == *"attempting to grant RBAC permissions not currently held"* ]] || broken "$what: $said"
}
tried "a role that reads Secrets" role taken --verb=get --resource=secrets
tried "a binding to admin" rolebinding taken --clusterrole=admin --serviceaccount=betterai-system:betterai-operator
tried "a binding to cluster-admin" rolebinding taken --clusterrole=cluster-admin --serviceaccount=demo:helpfulness-router

claim "a router reads its own table and endpoints, and nothing else"
same "$(may $router "get configmaps/helpfulness-traffic" demo) $(may $router "list endpointslices.discovery.k8s.io" demo)" "yes yes" "what it needs"
all_no $router demo "get configmaps/another" "list configmaps" "update configmaps/helpfulness-traffic" "get secrets" "list pods" \
    "get rewardmodels.betterai.dev" "patch rewardmodels.betterai.dev" "update endpointslices.discovery.k8s.io" "create events" \
    "get serviceaccounts" "create pods" "get leases.coordination.k8s.io"
all_no $router default "get configmaps/helpfulness-traffic" "list endpointslices.discovery.k8s.io" "get services"

claim "scoring pods have no token at all"
pod=$(kubectl -n demo get pods -l betterai.dev/model=helpfulness,betterai.dev/component=server -o jsonpath='{.items[0].metadata.name}')
same "$(kubectl -n demo get pod "$pod" -o jsonpath='{.spec.automountServiceAccountToken} {.spec.volumes[*].projected.sources[*].serviceAccountToken.path}')" "false " "the token of a scoring pod"
