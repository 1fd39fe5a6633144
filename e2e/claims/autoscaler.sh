#!/usr/bin/env bash
# A HorizontalPodAutoscaler owns `replicas`, through /scale, on a manifest that has none. No metrics server is
# in the local cluster, so minReplicas and maxReplicas drive it.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
trap 'kubectl -n demo delete hpa helpfulness --ignore-not-found >/dev/null' EXIT

without_replicas() { sed '/^  replicas:/d; s/duration: 5s/duration: 10m/'; }
bounds() { # least, most
    kubectl apply -f - >/dev/null <<EOT
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: helpfulness, namespace: demo}
spec:
  scaleTargetRef: {apiVersion: betterai.dev/v1alpha1, kind: RewardModel, name: helpfulness}
  minReplicas: $1
  maxReplicas: $2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
EOT
}
# What the autoscaler wants, and what it is told: as many pods as the selector selects.
agrees() { # replicas, pods
    becomes '{.spec.replicas}' "$1" 40
    becomes '{.status.replicas}' "$2" 40
    becomes '{.status.readyReplicas}' "$2" 40
    same "$(kubectl -n demo get pods -l "$(get helpfulness '{.status.selector}')" \
        -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}x{{end}}{{end}}' | wc -c)" "$2" "pods of the selector"
    local i
    for ((i = 0; i < 200; i++)); do
        [[ $(kubectl -n demo get hpa helpfulness -o jsonpath='{.status.currentReplicas}/{.status.desiredReplicas}') != "$1/$1" ]] || return 0
        sleep 0.2
    done
    broken "the autoscaler says $(kubectl -n demo get hpa helpfulness -o jsonpath='{.status}')"
}

kubectl -n demo delete rwm helpfulness --ignore-not-found --wait >/dev/null
stepped tiny-reward-v1 | without_replicas | apply
ready helpfulness
same "$(get helpfulness '{.spec.replicas}')" 1 "replicas that nobody has set"

claim "an autoscaler says how many there are, and the manifest that says nothing takes nothing back"
bounds 2 4
agrees 2 2
stepped tiny-reward-v1 | without_replicas | apply
agrees 2 2

claim "and in the middle of a rollout: both revisions are counted, no share moves"
stepped tiny-reward-v2 | without_replicas | apply
becomes "{.status.conditions[?(@.type=='Paused')].reason}" PauseStep
bounds 3 4
agrees 3 4 # one of them is maxSurge
same "$(get helpfulness '{.status.traffic[1].specWeight}/{.status.traffic[1].appliedWeight}')" 10/10 "wish and fact"
command promote
ready helpfulness
agrees 3 3
