#!/usr/bin/env bash
# Where nothing is to be done, nothing is done.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
audit=$run/logs/audit.log
operator_user=system:serviceaccount:betterai-system:betterai-operator

versions() { kubectl -n demo get rwm,deployments,services,controllerrevisions,pdb,jobs -o jsonpath='{range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion} {end}'; }
writes() { grep -c "\"username\":\"$operator_user\"" "$audit" || true; }
pods() { kubectl -n demo get pods -l betterai.dev/component=server -o jsonpath='{.items[*].metadata.uid}'; }

claim "the same manifest applied twice changes no version"
model tiny-reward-v2 | apply
ready helpfulness
before=$(versions)
model tiny-reward-v2 | apply
sleep 2 # nothing happens, so there is nothing to wait for
same "$(versions)" "$before" "versions"

claim "the operator writes nothing while nothing happens (${IDLE_SECONDS:=10} s)"
before=$(writes)
((before > 0)) || broken "the audit log shows no write of the operator at all"
sleep "$IDLE_SECONDS"
same "$(writes)" "$before" "writes of the operator"

claim "an operator that would build other pods restarts no model"
before=$(pods)
kubectl -n betterai-system patch deployment betterai-operator --type=json \
    -p '[{"op":"replace","path":"/spec/template/spec/containers/0/args/2","value":"docker.io/betterai/other:1"}]' >/dev/null
kubectl -n betterai-system rollout status deployment/betterai-operator --timeout=60s >/dev/null
kubectl -n demo annotate rwm helpfulness "touched=$RANDOM" --overwrite >/dev/null
sleep 2 # nothing happens, so there is nothing to wait for
same "$(pods)" "$before" "pods"
install_operator
