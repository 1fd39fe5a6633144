"""The phases of hack/load/overload, which see."""
import base64
import collections
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

vegeta, url, server, seconds, pairs, work = sys.argv[1:]
rows = [json.loads(line) for line in open(pairs, encoding="utf-8")]
BATCH = 256


def target(path, body):
    return json.dumps({
        "method": "POST", "url": url + path,
        "header": {"Content-Type": ["application/json"]},
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
    })


singles = [target("/predict", {"context": row["prompt"], "text": row["chosen"]}) for row in rows]
batch = target("/predict/batch", {
    "texts": [row["rejected"] for row in rows[:BATCH]],
    "contexts": [row["prompt"] for row in rows[:BATCH]],
})
# One request in two hundred is a batch: more than half of all texts come in batches.
mixed = [batch if i % 200 == 0 else line for i, line in enumerate(singles)]


def attack(name, targets, *flags):
    """Runs vegeta."""
    open(f"{work}/{name}.targets", "w", encoding="utf-8").write("\n".join(targets) + "\n")
    subprocess.run(
        ["nice", "-n", "15", vegeta, "attack", "-format=json", f"-targets={work}/{name}.targets",
         f"-output={work}/{name}.bin", "-timeout=30s", "-max-body=0", *flags], check=True)


def results(name):
    """What became of the requests of an attack, one by one."""
    text = subprocess.run([vegeta, "encode", "--to=json", f"{work}/{name}.bin"], capture_output=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def percentile(values, share):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(len(values) * share))] / 1e6, 1) if values else None


def texts(result):
    return BATCH if result["url"].endswith("batch") else 1


def resident():
    for line in open(f"/proc/{server}/status", encoding="utf-8"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


class Watch(threading.Thread):
    """Asks for health, and looks at the memory, while a phase runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.health, self.memory, self.over = [], [], threading.Event()
        self.began = time.monotonic()

    def run(self):
        while not self.over.wait(0.1):
            asked = time.monotonic()
            urllib.request.urlopen(url + "/health/live", timeout=30).read()
            self.health.append(1e3 * (time.monotonic() - asked))
            self.memory.append((asked - self.began, resident()))


# Who measures comes before who attacks, on the core that they share.
os.nice(-10)
attack("closed", singles, "-rate=0", "-max-workers=32", "-duration=10s")
capacity = sum(r["code"] == 200 for r in results("closed")) / 10
attack("base", singles, f"-rate={int(capacity * 0.8)}/1s", "-duration=20s", "-max-workers=2000")
watch = Watch()
watch.start()
attack("flood", mixed, f"-rate={int(capacity * 10)}/1s", f"-duration={seconds}s", "-max-workers=4000")
# Before results are read: that would hold the interpreter from who watches.
watch.over.set()
watch.join()
base, flood = results("base"), results("flood")
good = [r for r in flood if r["code"] == 200]
refused = [r for r in flood if r["code"] in (429, 503, 504)]
after = [memory for at, memory in watch.memory if at > 10]
print(json.dumps({
    "capacity_per_s": capacity,
    "base_p99_ms": percentile([r["latency"] for r in base if r["code"] == 200], 0.99),
    "base_statuses": collections.Counter(r["code"] for r in base),
    "flood_sent": len(flood),
    "flood_statuses": collections.Counter(r["code"] for r in flood),
    "flood_errors": collections.Counter(r["error"] for r in flood if r["code"] == 0).most_common(3),
    "texts_scored_per_s": sum(map(texts, good)) / float(seconds),
    "goodput_of_capacity": round(sum(map(texts, good)) / float(seconds) / capacity, 3),
    "refused_without_retry_after": sum("Retry-After" not in (r.get("headers") or {}) for r in refused),
    "accepted_single_p50_ms": percentile([r["latency"] for r in good if texts(r) == 1], 0.5),
    "accepted_single_p99_ms": percentile([r["latency"] for r in good if texts(r) == 1], 0.99),
    "accepted_batch_p99_ms": percentile([r["latency"] for r in good if texts(r) > 1], 0.99),
    "health_max_ms": round(max(watch.health), 1),
    "memory_mb_at_10s_and_most": (after[0], max(after)) if after else None,
}, indent=1))
