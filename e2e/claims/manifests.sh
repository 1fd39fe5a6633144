#!/usr/bin/env bash
# What ships in manifests is what a real API server takes: overlays and samples.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

claim "every overlay is accepted, and none of them changes what is granted to the operator"
rights() { kubectl kustomize "$root/manifests/$1" | sed -n '/^apiVersion: rbac/,/^---/p' | sha256sum; } # overlay
for overlay in base overlays/cluster overlays/gpu overlays/dev overlays/namespaced; do
    kubectl kustomize "$root/manifests/$overlay" |
        kubectl apply --server-side --force-conflicts --dry-run=server -f - >/dev/null || broken "$overlay"
    [[ $overlay != */namespaced ]] || continue # its rights end with its namespace: the claim namespaces
    same "$(rights $overlay)" "$(rights base)" "what $overlay grants"
done

claim "every sample is accepted, with a message that names no field that there is not"
for sample in "$root"/manifests/samples/*.yaml; do
    said=$(kubectl -n default create --dry-run=server --validate=strict -f "$sample" 2>&1) || broken "$sample: $said"
    [[ $said != *Warning* ]] || broken "$sample: $said"
done
