#!/usr/bin/env python3
"""Tries the accepted and the refused manifest of each CEL rule on the API server, without keeping them: of
RewardModels (a list of cases) or of experiments (a base, and cases that are merge patches of it; where a
case has `old`, that experiment is made first, and the manifest replaces it)."""
import copy
import json
import subprocess
import sys


def kubectl(*words, manifest=None):
    done = subprocess.run(
        ["kubectl", *words], input=json.dumps(manifest) if manifest else None,
        capture_output=True, text=True, check=False,
    )
    return done.returncode == 0, done.stderr


def model(spec):
    spec = dict(spec)
    name = spec.pop("name", "helpfulness-cel")
    spec.setdefault("model", {"source": {"pvc": {"claimName": "models", "path": "v1"}}})
    return {
        "apiVersion": "betterai.dev/v1alpha1",
        "kind": "RewardModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def merged(into, patch):
    """RFC 7396."""
    if not isinstance(patch, dict) or not isinstance(into, dict):
        return copy.deepcopy(patch)
    return {**into, **{name: merged(into.get(name), value) for name, value in patch.items()}}


def experiment(*patches):
    spec = {}
    for patch in patches:
        spec = merged(spec, patch)
    name = spec.pop("name", "experiment-cel")
    return {
        "apiVersion": "betterai.dev/v1alpha1",
        "kind": "ABExperiment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def create(manifest):
    return kubectl("create", "--dry-run=server", "-f", "-", manifest=manifest)


def replaced(old, phase, new):
    """What the API server says to `new` in the place of `old`, which has `phase`."""
    name = old["metadata"]["name"]
    steps = [
        kubectl("create", "-f", "-", manifest=old),
        kubectl("patch", "abexperiment", name, "-n", "default", "--subresource=status",
                "--type=merge", "-p", json.dumps({"status": {"phase": phase}})),
    ]
    answer = kubectl("replace", "--dry-run=server", "-f", "-", manifest=new)
    kubectl("delete", "abexperiment", name, "-n", "default")
    for done, why in steps:
        if not done:
            sys.exit(f"BROKEN: the experiment that is to be changed: {why}")
    return answer


def trials(cases):
    """Of each case its rule, its message, and what is said to a patch of it."""
    if isinstance(cases, list):
        for case in cases:
            yield case, lambda patch: create(model(patch))
        return
    base = cases["base"]
    for case in cases["cases"]:
        old = case.get("old")
        if old is None:
            yield case, lambda patch: create(experiment(base, patch))
        else:
            yield case, lambda patch, old=old, phase=case["phase"]: replaced(
                experiment(base, old), phase, experiment(base, old, patch))


with open(sys.argv[1], encoding="utf-8") as file:
    known = json.load(file)
count = 0
for case, answer in trials(known):
    accepted, why = answer(case["accepted"])
    if not accepted:
        sys.exit(f"BROKEN: {case['rule']}: refused although repaired: {why}")
    accepted, why = answer(case["refused"])
    if accepted or case["message"] not in why:
        sys.exit(f"BROKEN: {case['rule']}: accepted, or refused without its message: {why}")
    count += 1
print(f"    {count} rules", file=sys.stderr)
