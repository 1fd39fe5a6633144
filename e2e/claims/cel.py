#!/usr/bin/env python3
"""Tries the accepted and the refused manifest of each CEL rule on the API server, without keeping them."""
import json
import subprocess
import sys


def create(spec):
    spec = dict(spec)
    name = spec.pop("name", "helpfulness-cel")
    spec.setdefault("model", {"source": {"pvc": {"claimName": "models", "path": "v1"}}})
    manifest = {
        "apiVersion": "betterai.dev/v1alpha1",
        "kind": "RewardModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }
    done = subprocess.run(
        ["kubectl", "create", "--dry-run=server", "-f", "-"],
        input=json.dumps(manifest), capture_output=True, text=True, check=False,
    )
    return done.returncode == 0, done.stderr


cases = json.load(open(sys.argv[1], encoding="utf-8"))
for case in cases:
    accepted, why = create(case["accepted"])
    if not accepted:
        sys.exit(f"BROKEN: {case['rule']}: refused although repaired: {why}")
    accepted, why = create(case["refused"])
    if accepted or case["message"] not in why:
        sys.exit(f"BROKEN: {case['rule']}: accepted, or refused without its message: {why}")
print(f"    {len(cases)} rules", file=sys.stderr)
