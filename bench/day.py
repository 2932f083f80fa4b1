#!/usr/bin/env python3
"""A day as a picture: 24 hours of a small cluster, squeezed into minutes under small budgets.

  day.py [--hour 8] [--svg docs/a-day.svg]

Each hour makes ten documents of 10 KB and types into them, as fast as that hour is busy; nobody returns to the
documents of earlier hours. Every second: what the files of node 1 take by kind, and the memory of node 1 and of
the router. Budgets: a manifest each 2,000 commands, 4 MiB of documents in memory a group.
"""
import argparse, json, os, threading, time
import run
from years import rss

BUSY = [2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 19, 15, 17, 20, 20, 18, 14, 10, 8, 6, 5, 4, 3]  # of twenty
MOST = 1_500  # operations a second in the busiest hour
KINDS = [("wal", "log", "#4c78a8"), ("pages", "pages", "#f58518"), ("events", "op log", "#54a24b"), ("archive", "archive", "#b279a2")]
MEMORY = [("node-1", "node 1", "#e45756"), ("router", "router", "#72b7b2")]
SMALL = {"CODRAFT_LIMITS__SNAPSHOT_COMMANDS": "2000", "CODRAFT_LIMITS__GROUP_MEMORY_BYTES": str(4 << 20)}


def size(folder):
    """MiB that the files take on the disk."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(at, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total / (1 << 20)


def sample(server, began, samples, ended):
    while not ended.wait(1):
        memory = rss(server)
        row = {"s": time.time() - began, **{kind: size(f"{run.DATA}/node-1/{kind}") for kind, _, _ in KINDS}}
        row.update({name: memory[name]["rss"] for name, _, _ in MEMORY})
        samples.append(row)


def day():
    server, samples, ended, done = run.Server("codraft", more=SMALL), [], threading.Event(), 0
    began = time.time()
    sampling = threading.Thread(target=sample, args=(server, began, samples, ended))
    sampling.start()
    try:
        for busy in BUSY:
            row = server.run("load", docs=10, writers=2, rate=MOST * busy // 20, secs=max(1, A.hour - 3), warm=0.5, check=0)
            done += row.get("sent", 0)
            if row.get("failed") or not row.get("sent"):
                raise SystemExit(f"an hour failed, nothing is drawn: {row}")
    finally:
        ended.set()
        sampling.join()
        server.stop()
    return samples, done


def chart(samples, series, top, title):
    """Lines in a field of 720 x 180, from `top` down."""
    last, left, width, height = samples[-1]["s"], 60, 720, 180
    most = max(max(row[key] for row in samples) for key, _, _ in series) * 1.1 or 1
    x, y = (lambda s: left + width * s / last), (lambda v: top + height - height * v / most)
    out = [f'<text x="{left}" y="{top - 10}" font-weight="bold">{title}</text>']
    for part in range(5):
        value = most * part / 4
        out.append(f'<line x1="{left}" x2="{left + width}" y1="{y(value):.0f}" y2="{y(value):.0f}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.0f}</text>')
    for hour in range(0, 25, 4):
        out.append(f'<text x="{left + width * hour / 24:.0f}" y="{top + height + 16}" text-anchor="middle">{hour}:00</text>')
    for n, (key, name, colour) in enumerate(series):
        points = " ".join(f"{x(row['s']):.1f},{y(row[key]):.1f}" for row in samples)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{left + width + 10}" y="{top + 14 + 18 * n}" fill="{colour}">{name}: {samples[-1][key]:.0f} MiB</text>')
    return out


def draw(samples, done):
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 930 520" font-family="sans-serif" font-size="12">',
             '<rect width="930" height="520" fill="white"/>',
             *chart(samples, KINDS, 50, f"Files of node 1 in MiB, {done:,} operations in 240 documents"),
             *chart(samples, MEMORY, 300, "Memory in MiB, resident"), "</svg>"]
    with open(A.svg, "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hour", type=float, default=8, help="seconds that an hour takes")
    parser.add_argument("--svg", default=os.path.join(run.HERE, "..", "docs", "a-day.svg"))
    A = parser.parse_args()
    run.A, run.OUT = argparse.Namespace(quiet=True, secs=4), f"{run.PEERS}/day.jsonl"
    os.makedirs(f"{run.PEERS}/data", exist_ok=True)
    samples, done = day()
    draw(samples, done)
    print(json.dumps({"operations": done, "seconds": round(samples[-1]["s"]), "end": {k: round(v, 1) for k, v in samples[-1].items()},
                      "most": {k: round(max(row[k] for row in samples), 1) for k in samples[-1]}}))
