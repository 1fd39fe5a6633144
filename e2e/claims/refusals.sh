#!/usr/bin/env bash
# What is wrong with a model, its source or its names ends in a named reason that says what to do.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

expected=()
refused() { # name, reason, words; the manifest on standard input
    apply
    expected+=("$1|$2|$3")
}

claim "every way to spoil a model has its reason, and no pod of it is started"
# folder's ending, reason, words
while IFS='|' read -r ending reason words; do
    refused "bad-$ending" "$reason" "$words" < <(named "bad-$ending" "tiny-reward-v2-$ending")
done <<'EOT'
no-config|ModelInvalid|config.json is missing
torn-config|ModelInvalid|config.json cannot be read
no-tokenizer|ModelInvalid|tokenizer.json is missing
torn-tokenizer|ModelInvalid|tokenizer.json cannot be read
no-weights|ModelInvalid|no safetensors file
torn-weights|ModelInvalid|not a whole safetensors file
lost-shard|ModelInvalid|shards are missing: model-00002-of-00002.safetensors
pickle|UnsupportedFormat|safe_serialization=True
EOT
refused bad-digest DigestMismatch "pin the new digest" \
    < <(named bad-digest tiny-reward-v1 "digest: sha256:$(printf '0%.0s' {1..64})")
refused bad-folder VolumeUnavailable "check the claim and the path" < <(named bad-folder nowhere)

claim "so have a missing claim, a source with a password in it, a taken name and a path outside of the volume"
refused bad-claim VolumeUnavailable "create it" < <(named bad-claim x | sed 's/claimName: models/claimName: nowhere/')
refused bad-source InvalidSpec "may be a secret" < <(cat <<'EOT'
apiVersion: betterai.dev/v1alpha1
kind: RewardModel
metadata: {name: bad-source}
spec:
  model:
    source: {objectStore: {url: "https://me:password@store.example/models"}}
    cache: {claimName: models}
EOT
)
refused bad-field InvalidSpec "calibration.scale" < <(named bad-field tiny-reward-v1 'calibration: {scale: "-2"}')
kubectl -n demo create service clusterip taken --tcp=80 --dry-run=client -o yaml | apply
refused taken NameConflict "delete or rename it" < <(named taken tiny-reward-v1)
outside=$(named bad-path ../../etc | kubectl -n demo create --dry-run=server -f - 2>&1) && broken "a path outside of the volume is accepted"
[[ $outside == *"path"* ]] || broken "no word of the path: $outside"

for line in "${expected[@]}"; do
    IFS='|' read -r name reason words <<<"$line"
    stalled "$name" "$reason" "$words"
done
for line in "${expected[@]}"; do
    IFS='|' read -r name reason words <<<"$line"
    [[ $name == taken ]] || same "$(kubectl -n demo get deployments -l "betterai.dev/model=$name" -o name)" "" "Deployments of $name"
    case $name in
        bad-claim | bad-source | bad-field | taken) ;;
        *) same "$(get "$name" '{.status.model.lastFailure.reason}')" "$reason" "lastFailure of $name" ;;
    esac
done

claim "the Service of somebody else is left alone, and its name is taken over once it is free"
same "$(kubectl -n demo get service taken -o jsonpath='{.spec.ports[0].port}')" 80 "its port"
kubectl -n demo delete service taken >/dev/null
ready taken

claim "what was mended in place is tried again on the command retry"
cp "$run/models/tiny-reward-v2/config.json" "$run/models/tiny-reward-v2-no-config/"
kubectl -n demo annotate rwm bad-no-config betterai.dev/command=retry/1 >/dev/null
ready bad-no-config

for line in "${expected[@]}"; do
    kubectl -n demo delete rwm "${line%%|*}" --ignore-not-found --wait=false >/dev/null
done
