#!/usr/bin/env python3
"""Figures of years of documents: what a cluster costs that holds many, and much of their past.

  years.py documents [--docs 100000]                  memory of a node; cold opens after a restart
  years.py restart   [--docs 200000] [--ops 2000000]  until it serves again, before that history and after
  years.py disk      [--ops 20000]                    bytes written an operation, over all files and nodes

A restart is kill -9 of every process, then `codraft dev` until a document is open: all three nodes and the
router start at once on this machine's cores. Uses $PEERS as run.py does (bench/setup.sh first).
"""
import argparse, json, os, signal, sys, time
import run

IDS = f"{run.PEERS}/data/ids"


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


def written(server):
    total = 0
    for pid in server.pids.values():
        with open(f"/proc/{pid}/io") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith(("write_bytes", "cancelled")) and not line.startswith("cancelled"))
    return total


def disk():
    """A recording, one writer with one operation in flight, then the same with all of a second's at once."""
    trace = f"{A.traces}/automerge-paper.json.gz"
    for name, more in [("as delivered", {}), ("a manifest each 10,000 commands", {"CODRAFT_LIMITS__SNAPSHOT_COMMANDS": "10000"})]:
        server = run.Server("codraft", more=more)
        try:
            time.sleep(2)
            before, began = written(server), time.time()
            row = server.run("replay", doc="paper", trace=trace, ops=A.ops)
            during = written(server) - before
            time.sleep(5)
            say(at=name, ops=row.get("ops"), ops_s=row.get("ops_s"), failed=row.get("failed"), bytes_an_op=round(during / max(1, row.get("ops") or 1)),
                bytes_an_op_a_node=round(during / 3 / max(1, row.get("ops") or 1)))
        finally:
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["documents", "restart", "disk"])
    parser.add_argument("--docs", type=int)
    parser.add_argument("--ops", type=int)
    parser.add_argument("--opens", type=int, default=2000)
    parser.add_argument("--traces", default="/tmp/traces", help="folder of recordings")
    A = parser.parse_args()
    A.docs = A.docs or {"documents": 100_000}.get(A.what, 200_000)
    A.ops = A.ops or {"disk": 20_000}.get(A.what, 2_000_000)
    run.A = argparse.Namespace(quiet=True, secs=4)
    run.OUT = f"{run.PEERS}/years.jsonl"
    os.makedirs(f"{run.PEERS}/data", exist_ok=True)
    {"documents": documents, "restart": history, "disk": disk}[A.what]()
