#!/usr/bin/env python3
"""Figures of years of documents: what a cluster costs that holds many, and much of their past.

  years.py documents [--docs 100000]                  memory of a node; cold opens after a restart
  years.py restart   [--docs 200000] [--ops 2000000]  until it serves again, before that history and after
  years.py snapshot  [--docs 10000]                   propagation, and how long entries take to apply,
                                                   while a group writes all of them, and while not
  years.py paper     [--ops 260000]                   a recording typed, opened, and opened cold; beside Hocuspocus on SQLite
  years.py disk      [--ops 20000]                    bytes written an operation, over all files and nodes; needs strace

A restart is kill -9 of every process, then `codraft dev` until a document is open: all three nodes and the
router start at once on this machine's cores. Uses $PEERS as run.py does (bench/setup.sh first).
"""
import argparse, collections, json, os, re, signal, subprocess, time, urllib.request
import run

IDS = f"{run.PEERS}/data/ids"
NODES = [1, 2, 3]


def rss(server):
    """MiB by process: all that is resident, and what of it is memory that no file backs."""
    out = {}
    for name, pid in server.pids.items():
        with open(f"/proc/{pid}/status") as f:
            kib = {line.split(":")[0]: int(line.split()[1]) for line in f if line.startswith(("VmRSS", "RssAnon"))}
        out[name] = {"rss": round(kib["VmRSS"] / 1024), "anon": round(kib["RssAnon"] / 1024)}
    return out


def kill_all(server):
    pids = [server.process.pid, *server.pids.values()]
    os.kill(pids[0], signal.SIGSTOP)  # it would start them again
    for pid in pids[1:] + pids[:1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    server.process.wait()
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):  # its port is free when it is gone
        time.sleep(0.01)
    server.log.close()


def restart(server, n=1):
    """kill -9, start, open; seconds until the first document was open, and the row of the opens."""
    kill_all(server)
    began = time.time()
    server = run.Server("codraft", keep=True)
    ready = time.time() - began
    row = server.run("cold", ids=IDS, n=n)
    return server, ready, row


def say(**figures):
    print(json.dumps(figures), flush=True)


def documents():
    server = run.Server("codraft")
    try:
        say(at="start", mib=rss(server))
        say(at="filled", row=server.run("fill", docs=A.docs, preload=2000, ids=IDS), mib=rss(server))
        time.sleep(60)  # idle ones are written and leave
        say(at="a minute later", mib=rss(server))
        server, ready, row = restart(server, A.opens)
        say(at="restarted", ready_s=round(ready, 2), open_ms=row.get("open_ms"), first_ms=row.get("first_ms"), failed=row.get("failed"),
            mib=rss(server))
    finally:
        server.stop()


def history():
    server = run.Server("codraft")
    try:
        say(at="filled", row=server.run("fill", docs=A.docs, preload=200, ids=IDS))
        time.sleep(40)
        for ops in (0, A.ops):
            done = 0
            while done < ops:
                row = server.run("load", docs=100, writers=2, secs=20, check=0)
                done += row["sent"]
            server, ready, row = restart(server)
            say(at=f"{done} operations", ready_s=round(ready, 2), first_ms=row.get("first_ms"), failed=row.get("failed"))
    finally:
        server.stop()


def disk():
    """A recording, one writer with one operation in flight. What nodes write into files is had from strace: the kernel's own
    count takes whole folios, which are up to 512 KiB."""
    trace, told = f"{A.traces}/automerge-paper.json.gz", f"{run.PEERS}/writes.strace"
    for commands in (100_000, 2_000):
        server = run.Server("codraft", more={"CODRAFT_LIMITS__SNAPSHOT_COMMANDS": str(commands)})
        try:
            time.sleep(2)
            nodes = [f"-p{pid}" for name, pid in server.pids.items() if name.startswith("node")]
            tracer = subprocess.Popen(["strace", "-f", "-y", "-qq", "-s0", "-e", "trace=write,pwrite64,writev,pwritev", "-o", told, *nodes])
            time.sleep(1)
            row = server.run("replay", doc="paper", trace=trace, ops=A.ops)
            time.sleep(2)
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            kinds = collections.Counter()
            with open(told) as f:
                for line in f:
                    found = re.search(r"/node-\d+/(\w+).*\) = (\d+)$", line)
                    if found:
                        kinds[found[1]] += int(found[2])
            ops = row.get("ops") or 1
            say(at=f"a manifest each {commands} commands", ops=row.get("ops"), failed=row.get("failed"),
                bytes_an_op=round(sum(kinds.values()) / ops), by={kind: round(n / ops) for kind, n in kinds.items()})
        finally:
            server.stop()


def counted(server):
    """Has all nodes serve their counters, by the line that is in their files (`codraft dev` writes these anew when it starts)."""
    for n in NODES:
        path = f"{run.DATA}/node-{n}.toml"
        with open(path) as f:
            text = f.read().replace("# metrics_listen", "metrics_listen")
        with open(path, "w") as f:
            f.write(text)
        os.kill(server.pids[f"node-{n}"], signal.SIGTERM)
    for n in NODES:
        run.wait_port(7500 + n)
    end = time.time() + 60
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=5).close()
        except OSError:
            if time.time() > end:
                raise
            time.sleep(0.1)


def applied():
    """How many entries took at most so many seconds to apply, over all nodes and groups."""
    took = collections.Counter()
    for n in NODES:
        text = urllib.request.urlopen(f"http://127.0.0.1:{7500 + n}/metrics", timeout=5).read().decode()
        for labels, count in re.findall(r"^codraft_node_apply_seconds_bucket\{(.*)\} (\d+)$", text, re.M):
            took[float(re.search('le="(.*?)"', labels)[1])] += int(count)
    return took


def quantile_ms(took, q):
    """The end of the bucket that it lies in."""
    total = took[float("inf")]
    within = [end for end in sorted(took) if took[end] >= q * total]
    return round(within[0] * 1000, 3) if total else None


def snapshot():
    """One group; a manifest that has all documents to write falls into the seconds of the load, or none does."""
    for rep in range(A.reps):
        for name, commands in [("without", 10_000_000), ("a manifest of all", A.docs + 4_000)]:
            server = run.Server("codraft-groups-1", more={"CODRAFT_LIMITS__SNAPSHOT_COMMANDS": str(commands)})
            try:
                counted(server)
                server.run("fill", docs=A.docs, preload=200, ids=IDS)
                before = applied()
                row = server.run("load", docs=100, writers=2, rate=1500, secs=6, check=0)
                took = collections.Counter({end: count - before[end] for end, count in applied().items()})
                say(at=name, prop_ms=row.get("prop_ms"), ack_ms=row.get("ack_ms"), ops_s=row.get("ops_s"), failed=row.get("failed"),
                    entries=took[float("inf")], apply_ms={f"p{q}": quantile_ms(took, q / 100) for q in (50, 99)},
                    manifests=len(os.listdir(f"{run.DATA}/node-1/manifests")))
            finally:
                server.stop()


def pss(server):
    """KiB over the whole tree of processes, as the load generator counts it for idle sockets."""
    return server.run("idle", conns=0, docs=1, preload=1, settle=0)["kib_before"]


def paper():
    trace = f"{A.traces}/automerge-paper.json.gz"
    for name in A.servers.split(","):
        # It sends an empty document first.
        whole = {"min-bytes": A.least} if name != "codraft" else {}
        for file in [run.SERVERS[name][2].get("FILE")]:
            for end in ("", "-wal", "-shm"):
                if file and os.path.exists(file + end):
                    os.remove(file + end)
        server = run.Server(name)
        try:
            empty = pss(server)
            row = server.run("replay", doc="paper", trace=trace, ops=A.ops, secs=2500)
            say(at=f"{name}: typed", **{k: row.get(k) for k in ("ops", "ops_s", "srv_us_per_op", "failed")})
            doc = row.get("id") or "paper"
            time.sleep(15)
            warm = server.run("open", doc=doc, n=20, **whole)
            say(at=f"{name}: held open", open_ms=warm.get("open_ms"), bytes=warm.get("bytes"), mib_above_empty=round((pss(server) - empty) / 1024, 1),
                failed=warm.get("failed"))
            for _ in range(A.reps):
                server.stop()
                server = run.Server(name, keep=True)
                time.sleep(3)
                before = pss(server)
                cold = server.run("open", doc=doc, n=1, hold=0, **whole)
                say(at=f"{name}: cold", open_ms=(cold.get("open_ms") or {}).get("max"), mib_of_the_document=round((pss(server) - before) / 1024, 2),
                    failed=cold.get("failed"))
        finally:
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["documents", "restart", "snapshot", "paper", "disk"])
    parser.add_argument("--docs", type=int)
    parser.add_argument("--ops", type=int)
    parser.add_argument("--opens", type=int, default=2000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--least", type=int, default=50_000, help="bytes of the opened recording at Hocuspocus")
    parser.add_argument("--servers", default="hocuspocus-sqlite,codraft")
    parser.add_argument("--traces", default=os.environ.get("CODRAFT_TRACES", "."), help="folder of recordings; $CODRAFT_TRACES")
    A = parser.parse_args()
    A.docs = A.docs or {"documents": 100_000, "snapshot": 10_000}.get(A.what, 200_000)
    A.ops = A.ops or {"disk": 20_000, "paper": 260_000}.get(A.what, 2_000_000)
    run.A = argparse.Namespace(quiet=True, secs=4)
    run.OUT = f"{run.PEERS}/years.jsonl"
    os.makedirs(f"{run.PEERS}/data", exist_ok=True)
    {"documents": documents, "restart": history, "snapshot": snapshot, "paper": paper, "disk": disk}[A.what]()
