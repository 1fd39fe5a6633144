#!/usr/bin/env bash
# A canary that turns bad is gone within seconds, and nobody was harmed. `make bench-rollback` has it all.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

[[ ${FULL:-} ]] || { claim "skipped: FULL=1 runs it, and make bench-rollback all of it"; exit 0; }
"$root/e2e/cluster/images" faulty
claim "a canary that fails, or hangs, has no traffic within seconds, and nobody is harmed"
rows=$("$root/e2e/bench/rollback" --runs=1 --case=error/50/25/on --case=hang/50/25/on)
claim "$rows"
# The goals are the bench's, on a machine that does nothing else; a busy one may be late for a few.
python3 -c 'import json, sys
sys.exit(not all(row["worst_s"] and row["worst_s"] <= 8 and row["harmed"] <= 5 for row in json.loads(sys.argv[1])))' "$rows" || broken "it took too long, or somebody was harmed"
