//! peerload: one small closed/open-loop load generator for collaborative-editing servers.
//! Every scenario prints one JSON line on stdout. Loopback only; bounded by --secs / --ops.
mod adapters;
mod documents;
mod net;
mod stats;
use adapters::{Cfg, Client, Ev};
use net::{Poll, Sock, St};
use serde_json::{json, Value};
use stats::*;
use std::collections::HashMap;

struct Args(HashMap<String, String>, String);
impl Args {
    fn get(&self, k: &str, d: &str) -> String {
        self.0.get(k).cloned().unwrap_or_else(|| d.to_string())
    }
    fn num(&self, k: &str, d: f64) -> f64 {
        self.0.get(k).map(|v| v.parse().unwrap_or_else(|_| panic!("--{k} {v}"))).unwrap_or(d)
    }
    fn pids(&self) -> Vec<u32> {
        self.get("pids", "").split(',').filter_map(|x| x.parse().ok()).collect()
    }
}

struct Op {
    sent: u64,
    left: u32,
    acked: bool,
    /// counted only when sent inside the measured window
    counted: bool,
}

struct Peer {
    s: Sock,
    c: Box<dyn Client>,
    doc: usize,
    writer: bool,
    ready: bool,
    base: Option<u32>,
    ops: Vec<Op>,
    inflight: usize,
    sent: u64,
    next_at: u64,
}

struct World {
    p: Poll,
    peers: Vec<Peer>,
    per_doc: Vec<u32>,
    evs: Vec<libc::epoll_event>,
    scratch: Vec<u8>,
    lat: Hist,
    acklat: Hist,
    done_ops: u64,
    deliveries: u64,
    measuring: bool,
    errors: u64,
    closed: u64,
    /// writers whose window has a free place again
    free: Vec<usize>,
    last_ack: u64,
    acked: u64,
}

impl World {
    fn new() -> Self {
        World {
            p: Poll::new(), peers: vec![], per_doc: vec![], evs: vec![unsafe { std::mem::zeroed() }; 512], scratch: vec![0; 1 << 18],
            lat: Hist::new(), acklat: Hist::new(), done_ops: 0, deliveries: 0, measuring: false, errors: 0, closed: 0, free: vec![],
            last_ack: 0, acked: 0,
        }
    }
    fn add(&mut self, proto: &str, cfg: Cfg, doc: usize, writer: bool) -> usize {
        let c = adapters::make(proto, cfg.clone());
        let s = Sock::connect(&cfg.host, cfg.port, &c.path(), &c.headers()).expect("connect");
        let i = self.peers.len();
        self.p.ctl(libc::EPOLL_CTL_ADD, s.fd, i as u64, false);
        self.peers.push(Peer { s, c, doc, writer, ready: false, base: None, ops: vec![], inflight: 0, sent: 0, next_at: 0 });
        self.per_doc[doc] += 1;
        self.flush(i);
        i
    }
    fn flush(&mut self, i: usize) {
        let p = &mut self.peers[i];
        let all = p.s.flush();
        if all == p.s.want_w {
            p.s.want_w = !all;
            self.p.ctl(libc::EPOLL_CTL_MOD, p.s.fd, i as u64, !all);
        }
    }
    fn turn(&mut self, ms: u64) {
        self.turn_ns(ms * 1_000_000)
    }
    fn turn_ns(&mut self, ns: u64) {
        let n = self.p.wait_ns(&mut self.evs, ns);
        for k in 0..n {
            let i = self.evs[k].u64 as usize;
            self.serve(i);
        }
    }
    fn serve(&mut self, i: usize) {
        let mut out: Vec<Ev> = vec![];
        {
            let p = &mut self.peers[i];
            if p.s.st == St::Closed {
                return;
            }
            let c = &mut p.c;
            p.s.read(&mut self.scratch, |opened, bin, d, o| {
                if opened {
                    c.opened(o)
                } else {
                    c.message(bin, d, o, &mut out)
                }
            });
            if p.s.st == St::Closed {
                self.closed += 1;
                unsafe { libc::epoll_ctl(self.p.ep, libc::EPOLL_CTL_DEL, p.s.fd, std::ptr::null_mut()) };
            }
        }
        self.flush(i);
        let now = now_ns();
        for e in out {
            match e {
                Ev::Ready => self.peers[i].ready = true,
                Ev::Ack(seq) => {
                    self.acked += 1;
                    self.last_ack = now;
                    self.mark(i, seq, now, true)
                }
                Ev::Remote { wid, seq, n } => {
                    for s in seq..seq + n {
                        self.mark(wid as usize, s, now, false);
                    }
                }
                Ev::Error(e) => {
                    self.errors += 1;
                    if self.errors < 5 {
                        eprintln!("error on {i}: {e}");
                    }
                }
            }
        }
    }
    fn mark(&mut self, w: usize, seq: u32, now: u64, ack: bool) {
        let Some(p) = self.peers.get_mut(w) else { return };
        let Some(base) = p.base else { return };
        let Some(o) = p.ops.get_mut(seq.wrapping_sub(base) as usize) else { return };
        if ack {
            if o.acked {
                return;
            }
            o.acked = true;
            if o.counted {
                self.acklat.add(now - o.sent);
            }
        } else {
            if o.left == 0 {
                return;
            }
            o.left -= 1;
            if self.measuring {
                self.deliveries += 1;
            }
            if o.counted {
                self.lat.add(now - o.sent);
            }
        }
        if o.acked && o.left == 0 {
            p.inflight -= 1;
            if self.measuring {
                self.done_ops += 1;
            }
            self.free.push(w);
        }
    }
    fn submit(&mut self, i: usize, at: u64) {
        let n = self.per_doc[self.peers[i].doc] - 1;
        let m = self.measuring;
        let p = &mut self.peers[i];
        let seq = p.c.insert(&mut p.s.out);
        p.base.get_or_insert(seq);
        p.ops.push(Op { sent: at, left: n, acked: false, counted: m });
        p.inflight += 1;
        p.sent += 1;
        self.flush(i);
    }
    fn wait_ready(&mut self, from: usize, secs: f64) -> bool {
        let end = now_ns() + (secs * 1e9) as u64;
        while self.peers[from..].iter().any(|p| !p.ready) {
            if now_ns() > end || self.closed > 0 {
                eprintln!("not ready: {} of {}, closed {}", self.peers[from..].iter().filter(|p| !p.ready).count(), self.peers.len(), self.closed);
                return false;
            }
            self.turn(20);
        }
        true
    }
}

fn base_cfg(a: &Args, doc: String, wid: u32) -> Cfg {
    Cfg {
        host: a.get("host", "127.0.0.1"), port: a.num("port", 0.0) as u16, run: a.num("run", (now_ns() / 1_000_003 % 16383) as f64) as u32, wid, doc,
        creator: false, preload: a.num("preload", 10000.0) as usize, at_num: 1, at_den: 2, keep: false,
    }
}

/// docs x (writers + viewers); returns false when something did not open
fn open_all(a: &Args, w: &mut World, run: u32, docs: usize, writers: usize, viewers: usize, name: &str) -> bool {
    let proto = a.get("proto", "");
    let (host, port) = (a.get("host", "127.0.0.1"), a.num("port", 0.0) as u16);
    w.per_doc = vec![0; docs];
    let mk = |wid: usize, d: usize, k: usize, creator: bool| {
        let mut c = base_cfg(a, format!("{name}-{d}"), wid as u32);
        c.run = run;
        c.creator = creator;
        c.at_num = k + 1;
        c.at_den = writers + 1;
        c
    };
    for d in 0..docs {
        adapters::prepare(&proto, &host, port, &format!("{name}-{d}"), a.num("preload", 10000.0) as usize);
    }
    // the first connection of each document creates it
    for d in 0..docs {
        let wid = w.peers.len();
        w.add(&proto, mk(wid, d, 0, true), d, writers > 0);
        if d % 50 == 49 && !w.wait_ready(d - 49, 30.0) {
            return false;
        }
    }
    if !w.wait_ready(0, 30.0) {
        return false;
    }
    // let the creators' first texts arrive
    let end = now_ns() + 300_000_000;
    while now_ns() < end {
        w.turn(10);
    }
    let from = w.peers.len();
    for d in 0..docs {
        for k in 1..writers + viewers {
            let wid = w.peers.len();
            w.add(&proto, mk(wid, d, k, false), d, k < writers);
            if wid % 50 == 49 && !w.wait_ready(from, 60.0) {
                return false;
            }
        }
    }
    w.wait_ready(from, 60.0)
}

/// closed loop (no --rate) or open loop (--rate R ops/s over all writers)
fn load(a: &Args) -> Value {
    let (docs, writers, viewers) = (a.num("docs", 1.0) as usize, a.num("writers", 2.0) as usize, a.num("viewers", 0.0) as usize);
    let (secs, warm, rate, window) = (a.num("secs", 6.0), a.num("warm", 1.5), a.num("rate", 0.0), a.num("window", 1.0) as usize);
    let pids = a.pids();
    let run = (now_ns() / 1_000_003 % 16383) as u32;
    let name = a.get("doc", &format!("d{run}"));
    let mut w = World::new();
    if !open_all(a, &mut w, run, docs, writers, viewers, &name) {
        return json!({"failed": "open"});
    }
    let ws: Vec<usize> = (0..w.peers.len()).filter(|i| w.peers[*i].writer).collect();
    let t0 = now_ns();
    let step = if rate > 0.0 { (1e9 * ws.len() as f64 / rate) as u64 } else { 0 };
    for (k, i) in ws.iter().enumerate() {
        w.peers[*i].next_at = t0 + step * k as u64 / ws.len() as u64;
    }
    let (mstart, mend) = (t0 + (warm * 1e9) as u64, t0 + ((warm + secs) * 1e9) as u64);
    if rate == 0.0 {
        for i in &ws {
            let n = window.min(w.peers[*i].c.max_in_flight());
            for _ in 0..n {
                let t = now_ns();
                w.submit(*i, t);
            }
        }
    }
    w.free.clear();
    let mut snap: Option<(f64, f64, f64, u64)> = None;
    let (mut rx0, mut rx1) = ((0u64, 0u64), (0u64, 0u64));
    let rx = |w: &World| w.peers.iter().fold((0, 0), |a, p| (a.0 + p.s.bytes_in, a.1 + p.s.msgs_in));
    let mut res = None;
    let mut behind = 0u64;
    loop {
        let now = now_ns();
        if snap.is_none() && now >= mstart {
            snap = Some((cpu(&pids), self_cpu(), machine_busy(), now_ns()));
            rx0 = rx(&w);
            w.measuring = true;
        }
        if now >= mend {
            let s = snap.unwrap();
            let wall = (now_ns() - s.3) as f64 / 1e9;
            res = Some((cpu(&pids) - s.0, self_cpu() - s.1, machine_busy() - s.2, wall));
            rx1 = rx(&w);
            w.measuring = false;
            break;
        }
        if w.closed > 0 {
            break;
        }
        if rate == 0.0 {
            w.turn(5);
            let f = std::mem::take(&mut w.free);
            for i in f {
                let t = now_ns();
                w.submit(i, t);
            }
        } else {
            let mut next = u64::MAX;
            for i in &ws {
                while w.peers[*i].next_at <= now && w.peers[*i].inflight < w.peers[*i].c.max_in_flight() {
                    let at = w.peers[*i].next_at;
                    w.peers[*i].next_at += step;
                    w.submit(*i, at);
                }
                if w.peers[*i].next_at > now {
                    next = next.min(w.peers[*i].next_at);
                } else {
                    behind += 1;
                }
            }
            let wait = if next == u64::MAX { 1_000_000 } else { next.saturating_sub(now_ns()) };
            w.turn_ns(wait.min(5_000_000));
            w.free.clear();
        }
    }
    // drain
    let end = now_ns() + 5_000_000_000;
    while w.peers.iter().any(|p| p.inflight > 0) && now_ns() < end && w.closed == 0 {
        w.turn(20);
    }
    let lost: usize = w.peers.iter().map(|p| p.inflight).sum();
    let sent: u64 = w.peers.iter().map(|p| p.sent).sum();
    let rss = rss_kib(&pids);
    // convergence: the document's length is the preload plus one per op
    let mut conv = Value::Null;
    if a.get("check", "1") == "1" && w.closed == 0 {
        let want: u64 = w.peers.iter().filter(|p| p.doc == 0).map(|p| p.sent).sum::<u64>() + a.num("preload", 10000.0) as u64;
        let mut c = base_cfg(a, format!("{name}-0"), 60000);
        c.keep = true;
        c.run = run;
        let i = w.add(&a.get("proto", ""), c, 0, false);
        if w.wait_ready(i, 20.0) {
            let got = w.peers[i].c.text_len() as u64;
            conv = json!(got == want);
            if got != want {
                eprintln!("length {got}, expected {want}");
            }
        }
    }
    let Some((scpu, hcpu, busy, wall)) = res else { return json!({"failed": "closed", "errors": w.errors}) };
    let r1 = |x: f64| (x * 10.0).round() / 10.0;
    let us = |c: f64, n: u64| if n == 0 { 0.0 } else { r1(c / n as f64 * 1e6) };
    json!({"docs": docs, "writers": writers, "viewers": viewers, "window": window, "rate": rate, "wall_s": r1(wall),
        "ops_s": r1(w.done_ops as f64 / wall), "deliv_s": r1(w.deliveries as f64 / wall),
        "srv_cpu_pct": r1(scpu / wall * 100.0), "gen_cpu_pct": r1(hcpu / wall * 100.0), "other_cpu_pct": r1((busy - scpu - hcpu) / wall * 100.0),
        "srv_us_per_op": us(scpu, w.done_ops), "srv_us_per_deliv": us(scpu, w.deliveries),
        "rx_bytes_per_deliv": r1((rx1.0 - rx0.0) as f64 / w.deliveries.max(1) as f64), "rx_msgs_per_deliv": ((rx1.1 - rx0.1) as f64 / w.deliveries.max(1) as f64 * 1000.0).round() / 1000.0,
        "prop_ms": w.lat.json(), "ack_ms": w.acklat.json(), "sent": sent, "lost": lost, "errors": w.errors, "closed": w.closed,
        "behind": behind, "converged": conv, "srv_mib": r1(rss as f64 / 1024.0)})
}

fn idle(a: &Args) -> Value {
    let (docs, conns) = (a.num("docs", 1.0) as usize, a.num("conns", 2000.0) as usize);
    let pids = a.pids();
    let before = pss(&pids);
    let m0: u64 = before.iter().map(|p| p.1).sum();
    let c0 = cpu(&pids);
    let t0 = now_ns();
    let mut w = World::new();
    let run = (now_ns() / 1_000_003 % 16383) as u32;
    let name = format!("i{run}");
    if !open_all(a, &mut w, run, docs, 0, conns / docs, &name) {
        return json!({"failed": "open"});
    }
    let open_s = (now_ns() - t0) as f64 / 1e9;
    let oc = cpu(&pids) - c0;
    let settle = a.num("settle", 5.0);
    let c1 = cpu(&pids);
    let end = now_ns() + (settle * 1e9) as u64;
    while now_ns() < end {
        w.turn(50);
    }
    let after = pss(&pids);
    let m1: u64 = after.iter().map(|p| p.1).sum();
    let n = w.peers.len();
    // Who started in between began at nothing.
    let was = |name: &str| before.iter().find(|p| p.0 == name).map_or(0, |p| p.1);
    let by: serde_json::Map<String, Value> = after.iter().map(|(name, kib)| (name.clone(), json!(((*kib as f64 - was(name) as f64) / n as f64 * 10.0).round() / 10.0))).collect();
    json!({"conns": n, "kib_per_conn_by": by, "docs": docs, "kib_before": m0, "kib_after": m1, "kib_per_conn": ((m1 as f64 - m0 as f64) / n as f64 * 10.0).round() / 10.0,
        "open_s": open_s, "open_cpu_us_per_conn": (oc / n as f64 * 1e6).round(), "idle_cpu_pct": ((cpu(&pids) - c1) / settle * 1000.0).round() / 10.0, "closed": w.closed})
}

/// time from TCP connect to the whole state received, one connection after another. With --hold 1 (default) another
/// client keeps the document open meanwhile. --min-bytes: a state shorter than this is not yet the document (some servers
/// answer with an empty state first and send the stored one later).
fn open(a: &Args) -> Value {
    let n = a.num("n", 20.0) as usize;
    let doc = a.get("doc", "");
    let min = a.num("min-bytes", 0.0) as u64;
    let pids = a.pids();
    let mut h = Hist::new();
    let (mut bytes, mut len) = (0, 0);
    let one = |k: u32, keep: bool| -> Option<(World, u64)> {
        let mut w = World::new();
        w.per_doc = vec![0];
        let mut c = base_cfg(a, doc.clone(), k);
        c.keep = keep;
        let t0 = now_ns();
        w.add(&a.get("proto", ""), c, 0, false);
        if !w.wait_ready(0, 15.0) {
            return None;
        }
        while w.peers[0].s.bytes_in < min {
            if now_ns() > t0 + 60_000_000_000 || w.closed > 0 {
                return None;
            }
            w.turn(5);
        }
        let t = now_ns() - t0;
        Some((w, t))
    };
    let hold = if a.get("hold", "1") == "1" { one(9999, false) } else { None };
    if hold.is_none() && a.get("hold", "1") == "1" {
        return json!({"failed": "open", "doc": doc});
    }
    let c0 = cpu(&pids);
    let mut cend = c0;
    for k in 0..n {
        let Some((mut w, t)) = one(k as u32, true) else { return json!({"failed": "open", "doc": doc}) };
        h.add(t);
        if k == n - 1 {
            cend = cpu(&pids);
            let end = now_ns() + 700_000_000;
            while now_ns() < end {
                w.turn(5);
            }
            bytes = w.peers[0].s.bytes_in;
            len = w.peers[0].c.text_len();
        }
    }
    json!({"doc": doc, "open_ms": h.json(), "bytes": bytes, "text_len": len, "srv_cpu_ms_per_open": ((cend - c0) / n as f64 * 1e5).round() / 100.0, "srv_mib": rss_kib(&pids) / 1024})
}

pub struct Trace {
    pub end: String,
    pub patches: Vec<(usize, usize, String)>,
}
fn trace(path: &str) -> Trace {
    use std::io::Read;
    let mut s = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).expect("trace")).read_to_string(&mut s).expect("gz");
    let v: Value = serde_json::from_str(&s).expect("json");
    let mut patches = vec![];
    for t in v["txns"].as_array().expect("txns") {
        for p in t["patches"].as_array().expect("patches") {
            patches.push((p[0].as_u64().unwrap() as usize, p[1].as_u64().unwrap() as usize, p[2].as_str().unwrap().to_string()));
        }
    }
    Trace { end: v["endContent"].as_str().unwrap_or("").to_string(), patches }
}

/// one writer replays an editing trace into `--doc`
fn replay(a: &Args) -> Value {
    let t = trace(&a.get("trace", ""));
    let max = a.num("ops", t.patches.len() as f64) as usize;
    let pids = a.pids();
    let window = a.num("window", 64.0) as usize;
    let (proto, doc) = (a.get("proto", ""), a.get("doc", ""));
    let mut w = World::new();
    w.per_doc = vec![0];
    adapters::prepare(&proto, &a.get("host", "127.0.0.1"), a.num("port", 0.0) as u16, &doc, 0);
    let mut c = base_cfg(a, doc.clone(), 0);
    c.creator = true;
    c.preload = 0;
    w.add(&proto, c, 0, true);
    if !w.wait_ready(0, 10.0) {
        return json!({"failed": "open"});
    }
    let (t0, c0) = (now_ns(), cpu(&pids));
    let limit = t0 + (a.num("secs", 400.0) * 1e9) as u64;
    let mut k = 0;
    while k < max.min(t.patches.len()) || w.peers[0].inflight > 0 {
        let win = window.min(w.peers[0].c.max_in_flight());
        while k < max && w.peers[0].inflight < win {
            let (p, d, i) = &t.patches[k];
            let pe = &mut w.peers[0];
            let seq = pe.c.patch(*p, *d, i, &mut pe.s.out);
            pe.base.get_or_insert(seq);
            pe.ops.push(Op { sent: now_ns(), left: 0, acked: false, counted: true });
            pe.inflight += 1;
            k += 1;
        }
        w.flush(0);
        w.turn(20);
        if w.closed > 0 || w.errors > 0 || now_ns() > limit {
            return json!({"failed": "replay", "done": w.acked, "closed": w.closed, "errors": w.errors});
        }
    }
    let wall = (now_ns() - t0) as f64 / 1e9;
    json!({"doc": doc, "id": adapters::codraft::id(&doc), "ops": k, "wall_s": wall, "ops_s": (k as f64 / wall).round(), "srv_us_per_op": ((cpu(&pids) - c0) / k as f64 * 1e7).round() / 10.0,
        "ack_ms": w.acklat.json(), "end_len": t.end.chars().count(), "srv_mib": rss_kib(&pids) / 1024})
}

/// one writer, one viewer; kill -9 of --kill (comma list) the instant the last op is acknowledged
fn durable(a: &Args) -> Value {
    let n = a.num("ops", 200.0) as usize;
    let kill = a.get("kill", "");
    let mut w = World::new();
    let run = (now_ns() / 1_000_003 % 16383) as u32;
    let name = a.get("doc", "dur");
    if !open_all(a, &mut w, run, 1, 1, 1, &name) {
        return json!({"failed": "open"});
    }
    let pause = (a.num("pause-ms", 0.0) * 1e6) as u64;
    let gap = (a.num("gap-ms", 0.0) * 1e6) as u64;
    let mut k = 0;
    while k < n {
        let t = now_ns();
        w.submit(0, t);
        k += 1;
        while w.peers[0].inflight > 0 && w.closed == 0 {
            w.turn(50);
        }
        while now_ns() < t + gap {
            w.turn(1);
        }
    }
    let e = now_ns() + pause;
    while now_ns() < e {
        w.turn(5);
    }
    for p in kill.split(',').filter_map(|x| x.parse::<i32>().ok()) {
        unsafe { libc::kill(p, libc::SIGKILL) };
    }
    json!({"doc": format!("{name}-0"), "acked_and_delivered": w.acked, "expected_len": n + a.num("preload", 10000.0) as usize, "ack_ms": w.acklat.json()})
}

fn main() {
    let mut it = std::env::args().skip(1);
    let cmd = it.next().unwrap_or_default();
    let mut m = HashMap::new();
    while let Some(k) = it.next() {
        m.insert(k.trim_start_matches("--").to_string(), it.next().unwrap_or_default());
    }
    let a = Args(m, cmd.clone());
    net::QUICKACK.store(a.get("quickack", "0") == "1", std::sync::atomic::Ordering::Relaxed);
    let c0 = if cmd == "durable" { 0 } else { calib() };
    let mut v = match cmd.as_str() {
        "load" => load(&a),
        "idle" => idle(&a),
        "open" => open(&a),
        "replay" => replay(&a),
        "durable" => durable(&a),
        "fill" => documents::fill(&a),
        "cold" => documents::cold(&a),
        _ => {
            eprintln!("usage: peerload load|idle|open|replay|durable|fill|cold --proto P --port N --pids a,b …  (see ../README.md)");
            std::process::exit(2)
        }
    };
    if cmd != "durable" {
        v["calib_us"] = json!([c0, calib()]);
    }
    v["scenario"] = json!(a.1);
    v["proto"] = json!(a.get("proto", ""));
    v["label"] = json!(a.get("label", &a.get("proto", "")));
    println!("{v}");
}
