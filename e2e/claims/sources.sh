#!/usr/bin/env bash
# Models that are elsewhere: a private hub and an object store, with a cache and without.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
commit=0123456789abcdef0123456789abcdef01234567 token=hf_0123456789secret key=AKIA0123456789 cache=$run/fetched
source_is() { # the most bytes of one answer; none: it is away
    kubectl -n demo delete pod hub --ignore-not-found --grace-period=0 --force >/dev/null 2>&1
    (($# > 0)) || return 0
    apply <<EOT
apiVersion: v1
kind: Pod
metadata: {name: hub, namespace: demo, labels: {app: hub}}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: hub
      image: $(image demo)
      imagePullPolicy: IfNotPresent
      command: [/usr/local/bin/model-source, --token, $token, --key, $key, --most, "$1"]
      readinessProbe: {httpGet: {path: /sent, port: 8080}, periodSeconds: 1}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
EOT
    kubectl -n demo wait --for=condition=Ready pod/hub --timeout=60s >/dev/null
}
secret() { kubectl -n demo create secret generic "$@" --dry-run=client -o yaml | apply; } # name, pairs
remote() { # name, source, lines of model
    printf 'apiVersion: betterai.dev/v1alpha1\nkind: RewardModel\nmetadata: {name: %s}\nspec:\n  replicas: 1\n  rollout: {rollbackWindow: {warmReplicas: 0}, revisionHistoryLimit: 0}\n  model:\n    source: {%s}\n' "$1" "$2"
    printf '    %s\n' "${@:3}"
}
hub() { echo "huggingFace: {repo: team/$1, revision: $commit, endpoint: 'http://hub:8080', tokenSecretRef: {name: hub, key: token}}"; }
store() { echo "objectStore: {url: 's3://team/$1', secretRef: {name: store}}"; }
cached='cache: {claimName: fetched}'

says() { # name, words of its Stalled, whose reason may be there already
    for _ in {1..450}; do [[ $(get "$1" '{.status.conditions[?(@.type=="Stalled")].message}') != *"$2"* ]] || return 0; sleep 0.2; done
    broken "$1 does not say '$2': $(get "$1" '{.status}')"
}

kubectl -n demo create service clusterip hub --tcp=8080 --dry-run=client -o yaml | apply
secret store --from-literal=AWS_ACCESS_KEY_ID=$key --from-literal=AWS_SECRET_ACCESS_KEY=secret-of-$key \
    --from-literal=AWS_REGION=us-east-1 --from-literal=AWS_ENDPOINT=http://hub:8080 --from-literal=AWS_ALLOW_HTTP=true
install -d -o 1000 -g 1000 "$cache"
sed "s|VOLUME|$cache|; s/demo-models/demo-fetched/; s/name: models/name: fetched/" "$root/e2e/demo/volume.yaml" | kubectl apply --server-side -f - >/dev/null
sed '/^---/,$d; s/name: models/name: fetched/; s/ReadWriteOnce/ReadWriteMany/' "$root/e2e/demo/claim.yaml" | kubectl apply --server-side -f - >/dev/null
source_is 1000000

claim "a Secret that is missing, a wrong token and a wrong revision have their reasons; the right token and retry mend it"
remote from-hub "$(hub tiny-reward-v1)" "$cached" | apply
stalled from-hub SourceUnreachable 'secret "hub" not found'
secret hub --from-literal=token=hf_wrong0123456789
says from-hub "answers 401"
secret hub --from-literal=token=$token
remote nowhere "$(hub tiny-reward-v9)" "$cached" | apply
kubectl -n demo annotate rwm from-hub betterai.dev/command=retry/1 >/dev/null
ready from-hub
stalled nowhere SourceUnreachable "answers 404"
digest=$(get from-hub '{.status.model.digest}')

claim "each answer breaks off after a megabyte, and no byte is fetched twice"
all=$(cd "$root/e2e/fixtures/demo-models/tiny-reward-v1" && cat {config,tokenizer,tokenizer_config}.json model.safetensors | wc -c)
sent=$(kubectl get --raw /api/v1/namespaces/demo/pods/hub:8080/proxy/sent)
((sent < all + 100)) || broken "$sent bytes were sent of a model of $all"

claim "another RewardModel finds the model in the cache by its digest while the source is away, and one without it is told so"
source_is
remote again "$(hub tiny-reward-v1)" "$cached" "digest: $digest" | apply
ready again
remote away "$(hub tiny-reward-v2)" "$cached" | apply
stalled away SourceUnreachable "it is tried again"
source_is 1000000
ready away

claim "from S3, with the cache and without it; a wrong digest is refused before a pod of the model is there"
remote from-s3 "$(store tiny-reward-v2)" "$cached" | apply
remote alone "$(store tiny-reward-v1)" "digest: $digest" | apply
remote wrong "$(store tiny-reward-v2)" "digest: $digest" | apply
ready from-s3
ready alone
stalled wrong DigestMismatch "pin the new digest"
same "$(kubectl -n demo get deployments -l betterai.dev/model=wrong -o name)" "" "Deployments of wrong"

claim "what no revision names goes at the next fetch, and what one serves stays"
folders() { find "$cache/fetched" -maxdepth 1 -name 'sha256-*' -printf '%f\n' | sort; }
unused=$cache/fetched/sha256-$(printf '0%.0s' {1..64})
install -d -o 1000 -g 1000 "$unused" && touch -d '2 days ago' "$unused"
before=$(folders)
remote from-s3 "$(store tiny-reward-v3-regressed)" "$cached" | apply
kubectl -n demo wait --for=jsonpath='{.status.observedGeneration}'=2 rwm/from-s3 --timeout=30s >/dev/null
ready from-s3
[[ ! -e $unused ]] || broken "$unused is still there"
for folder in $(grep -v "${unused##*/}" <<<"$before"); do [[ -e $cache/fetched/$folder ]] || broken "$folder is gone"; done

claim "no token and no key is in an object, an event or a log"
said=$(kubectl -n demo get rwm,jobs,pods,deployments,controllerrevisions,configmaps,events -o yaml -l 'app!=hub'; kubectl -n demo logs -l betterai.dev/component=verify --tail=-1 --prefix; kubectl -n betterai-system logs deployment/betterai-operator)
for word in $token hf_wrong0123456789 secret-of-$key; do [[ $said != *"$word"* ]] || broken "$word can be read"; done

kubectl -n demo delete rwm from-hub nowhere again away from-s3 alone wrong --wait=false >/dev/null
source_is
kubectl -n demo delete service/hub secret/hub secret/store >/dev/null
