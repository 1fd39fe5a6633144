# Shared by the demo and the cluster claims; sourced, with the cluster of $CLUSTER up.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cluster=${CLUSTER:-local}
[[ $cluster != auto ]] || cluster=local
run=${XDG_CACHE_HOME:-$HOME/.cache}/betterai/run/$cluster
mkdir -p "$run"
eval "$("$root/e2e/cluster/$cluster" env)"
url=http://helpfulness.demo.svc:8000

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
claim() { printf '  %s\n' "$*" >&2; }
broken() { printf 'BROKEN: %s\n' "$*" >&2; exit 1; }
same() { [[ $1 == "$2" ]] || broken "$3: wanted $2, have $1"; }

# Where REGISTRY is set, the images that were pushed there; else those of the manifests.
image() { echo "${REGISTRY:-docker.io/betterai}/$1:dev"; }
with_images() { sed "s|docker.io/betterai/\([a-z-]*\):dev|${REGISTRY:-docker.io/betterai}/\1:dev|"; }

install_operator() {
    kubectl kustomize "$root/manifests/base" | with_images |
        kubectl apply --server-side --force-conflicts -f - >/dev/null
    kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=90s >/dev/null || {
        kubectl -n betterai-system logs deployment/betterai-operator --tail=20 >&2
        broken "the operator does not become ready"
    }
}

# A claim with the demo models. The local cluster has no provisioner, so its volume is a folder.
fill_claim() {
    kubectl create namespace demo --dry-run=client -o yaml | kubectl apply --server-side -f - >/dev/null
    kubectl label --overwrite namespace demo pod-security.kubernetes.io/enforce=restricted >/dev/null
    if [[ $cluster == local ]]; then
        install -d -o 1000 -g 1000 "$run/models"
        sed "s|VOLUME|$run/models|" "$root/e2e/demo/volume.yaml" | kubectl apply --server-side -f - >/dev/null
    fi
    kubectl -n demo delete job fill --ignore-not-found --wait >/dev/null
    with_images <"$root/e2e/demo/claim.yaml" | kubectl apply --server-side -f - >/dev/null
    kubectl -n demo wait --for=condition=Complete job/fill --timeout=90s >/dev/null
}

# The sample, with the model's folder and more lines of its `model`. The old revision goes at once, so that
# what is there can be counted.
model() { # folder, lines...
    sed "s|path: tiny-reward-v1|path: $1|" "$root/manifests/samples/helpfulness.yaml" |
        awk -v more="${2:-}" '{print} /^  model:/ && more != "" {print "    " more}'
    echo "  rollout: {rollbackWindow: {warmReplicas: 0}}"
}

# The sample that goes in steps.
stepped() { sed "s|path: tiny-reward-v1|path: $1|" "$root/manifests/samples/stepped.yaml"; } # folder

# The sample with a golden set, which meets copies of live requests too before it goes in steps.
proven() { # folder
    sed "s|path: tiny-reward-v1|path: $1|; s|^      - setWeight: 10|      - shadow: {percent: 100, minPairs: 100, maxDuration: 1m}\n&|" "$root/manifests/samples/golden.yaml"
    printf '      - setWeight: 50\n      - pause: {duration: 5s}\n'
}
golden_set() { # file
    kubectl -n demo create configmap golden --from-file=pairs.jsonl="$1" --dry-run=client -o yaml |
        kubectl apply --server-side --force-conflicts -f - >/dev/null
}

# The same on GPUs that only the scheduler knows of.
on_gpus() { # folder, replicas, maxSurge, minAvailable
    stepped "$1" | sed "s/replicas: 2/replicas: $2/; s/maxSurge: 1/maxSurge: $3/; s/minAvailable: 50%/minAvailable: $4/; s/duration: 5s/duration: 1s/; s/duration: 30m/duration: 0s/"
    printf '  server: {args: [--device=cpu], image: "%s", resources: {limits: {nvidia.com/gpu: "1"}}}\n' "$(image inference-server)"
}

# The servers' pods, by uid; and once there are two, those on their way out being gone.
pods() { kubectl -n demo get pods -l betterai.dev/component=server -o jsonpath='{.items[*].metadata.uid}'; }
two_pods() { local i; for ((i = 0; i < 300; i++)); do [[ $(pods | wc -w) != 2 ]] || break; sleep 0.2; done; }

# A human's click.
command() { kubectl -n demo annotate --overwrite rwm helpfulness "betterai.dev/command=$1/$RANDOM$RANDOM" >/dev/null; } # verb

# Waits until a field of helpfulness, which may not be there yet, has a value. What the status says of an
# older spec is no answer, here and below.
becomes() { # path, value, seconds
    local i now
    for ((i = 0; i < 5 * ${3:-60}; i++)); do
        now=$(get helpfulness "{.metadata.generation} {.status.observedGeneration} $1" 2>/dev/null) || true
        [[ $now != "${now%% *} ${now%% *} $2" ]] || return 0
        sleep 0.2
    done
    broken "$1 is $(get helpfulness "$1"), not $2: $(get helpfulness '{.status.message}')"
}
seen() { # name; asked anew each time: the operator itself sets `replicas` where nobody has, which is a new spec
    local i now
    for ((i = 0; i < 450; i++)); do
        now=$(get "$1" '{.metadata.generation} {.status.observedGeneration}' 2>/dev/null) || true
        [[ -z $now || $now != "${now#* } ${now#* }" ]] || return 0
        sleep 0.2
    done
    kubectl -n betterai-system logs deployment/betterai-operator --tail=20 >&2
    broken "$1: the operator does not look at it: generation and observed '$now'"
}

# The same under another name, with one replica.
named() { # name, folder, lines...
    model "$2" "${3:-}" | sed "s/name: helpfulness/name: $1/; s/replicas: 2/replicas: 1/"
}

get() { kubectl -n demo get rwm "$1" -o "jsonpath=$2"; } # name, path
apply() { kubectl -n demo apply -f - >/dev/null; }
ready() { # name
    seen "$1"
    kubectl -n demo wait --for=condition=Ready "rwm/$1" --timeout=90s >/dev/null ||
        broken "$1 is not Ready: $(get "$1" '{.status.message}')"
}
stalled() { # name, reason, words of its message
    seen "$1"
    kubectl -n demo wait --for=jsonpath='{.status.conditions[?(@.type=="Stalled")].reason}'="$2" "rwm/$1" --timeout=90s >/dev/null ||
        broken "$1 is not Stalled/$2: $(get "$1" '{.status}')"
    local message
    message=$(get "$1" '{.status.conditions[?(@.type=="Stalled")].message}')
    [[ $message == *"$3"* ]] || broken "$1: the message does not say '$3': $message"
}

# Kills the process of a pod's first container, as a kernel that runs out of memory does. Local only.
kill_process() { # pod
    local container socket
    container=$(kubectl -n demo get pod "$1" -o jsonpath='{.status.containerStatuses[0].containerID}')
    kill -KILL "$(for socket in "$run"/containerd.sock "$run"/node-*/containerd.sock; do
        [[ ! -S $socket ]] || ctr -a "$socket" -n k8s.io tasks ls
    done | awk -v id="${container#*://}" '$1 == id {print $2}')"
}

# The folder of a Prometheus' programs: Debian's, unpacked. Installed it would run as a service of the machine.
prometheus() {
    [[ -x $run/prometheus/usr/bin/promtool ]] || (
        mkdir -p "$run/prometheus"
        cd "$run/prometheus"
        apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
        dpkg -x prometheus_*.deb .
    )
    echo "$run/prometheus/usr/bin"
}

# Runs the client as a pod and prints what it says.
client() { # pod, arguments...
    start_client "$@"
    finish_client "$1"
}

start_client() {
    local pod=$1 args
    shift
    args=$(printf '"%s",' "$@")
    kubectl -n demo delete pod "$pod" --ignore-not-found --grace-period=0 --force >/dev/null 2>&1
    kubectl apply -f - >/dev/null <<EOT
apiVersion: v1
kind: Pod
metadata: {name: $pod, namespace: demo}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: client
      image: $(image demo)
      imagePullPolicy: IfNotPresent
      args: [${args%,}]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
EOT
    # A client that is done already never shows as running.
    kubectl -n demo wait --for=jsonpath='{.status.containerStatuses[0].started}' "pod/$pod" --timeout=60s >/dev/null
}

# Ends the load before its time, and prints its report.
end_client() { # pod
    kubectl -n demo exec "$1" -- /usr/local/bin/demo-client stop >/dev/null 2>&1 || true # it may have ended
    finish_client "$1"
}

finish_client() {
    if ! kubectl -n demo wait --for=jsonpath='{.status.phase}'=Succeeded "pod/$1" --timeout=600s >/dev/null; then
        kubectl -n demo logs "$1" >&2
        return 1
    fi
    kubectl -n demo logs "$1"
}

# Whether a report of the client says that accuracy, give or take 0.002.
accuracy_is() { # report, accuracy
    python3 -c 'import json, sys; sys.exit(abs(json.loads(sys.argv[1])["accuracy"] - float(sys.argv[2])) > 0.002)' "$1" "$2" ||
        broken "accuracy: wanted $2, have $1"
}
no_failure() { [[ $1 == *'"failures":0,'* ]] || broken "requests failed: $1"; } # report
