# Shared by the scripts beside it; sourced. They use vegeta, an open-loop load generator, which Go
# builds once and which stays in the cache folder. The server runs on the first core, the load on the
# second.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
program=${CARGO_TARGET_DIR:-$root/target}/release/inference-server
[[ -x $program ]] || { echo "build it first: cargo build --release -p inference-server" >&2; exit 1; }
bin=${XDG_CACHE_HOME:-$HOME/.cache}/betterai/bin/load
[[ -x $bin/vegeta ]] || GOBIN=$bin go install github.com/tsenart/vegeta/v12@v12.13.0
work=$(mktemp -d)
models=$root/e2e/fixtures/demo-models
pairs=$root/e2e/fixtures/data/preferences-eval.jsonl

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
url=http://127.0.0.1:$(free_port)

server=''
stop() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# serve FLAGS...: a server that is ready, as $server.
serve() {
    REWARD_DRAIN_DELAY=${drain_delay:-0s} taskset -c 0 "$program" serve --threads 1 --log warn --listen "${url#http://}" "$@" &
    server=$!
    until curl -sf -o /dev/null "$url/health/ready"; do
        kill -0 "$server" 2>/dev/null || { echo "the server did not start" >&2; exit 1; }
        sleep 0.05
    done
}

# targets FIRST LAST: requests for the answers of the pairs, one a line; every
# second text comes once only, the others again and again.
targets() {
    python3 - "$pairs" "$url/predict" "$1" "$2" <<'PY'
import base64, json, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for i in range(int(sys.argv[3]), int(sys.argv[4])):
    row, new = (rows[i % len(rows)], f" {i}") if i % 2 == 0 else (rows[i % 50], "")
    body = json.dumps({"context": row["prompt"], "text": row["chosen"] + new})
    print(json.dumps({"method": "POST", "url": sys.argv[2], "header": {"Content-Type": ["application/json"]},
                      "body": base64.b64encode(body.encode()).decode()}))
PY
}

# attack NAME RATE SECONDS: the requests of $work/targets.
attack() {
    taskset -c 1 "$bin/vegeta" attack -format=json -targets="$work/targets" -rate="$2/1s" -duration="$3s" \
        -timeout=120s >"$work/$1.bin"
}

# report NAME: what became of them.
report() {
    "$bin/vegeta" report --type json "$work/$1.bin" | python3 -c '
import json, sys
r = json.load(sys.stdin)
times = tuple(r["latencies"][k] / 1e6 for k in ("50th", "99th", "max"))
print(sys.argv[1] + ": statuses", r["status_codes"], "p50 %.1f ms, p99 %.1f ms, most %.1f ms" % times, *r["errors"] or [])' "$1"
}
