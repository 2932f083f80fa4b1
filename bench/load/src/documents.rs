//! Many documents: made at once over REST, and opened again one after the other. Codraft alone.
use crate::adapters;
use crate::stats::*;
use crate::{base_cfg, Args, World};
use serde_json::{json, Value};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One request on a connection that stays.
fn post(stream: &mut BufReader<std::net::TcpStream>, head: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    write!(stream.get_mut(), "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    let (mut code, mut bytes, mut line) = (0, 0, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = text.strip_prefix("http/1.1 ") {
            code = rest.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
        } else if let Some(length) = text.strip_prefix("content-length:") {
            bytes = length.trim().parse().unwrap_or(0);
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body)?;
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

/// --docs N of --preload characters over --connections at once; their ids go to the file --ids.
pub fn fill(a: &Args) -> Value {
    let (docs, connections) = (a.num("docs", 1000.0) as usize, a.num("connections", 64.0) as usize);
    let (host, port) = (a.get("host", "127.0.0.1"), a.num("port", 0.0) as u16);
    let head = format!("Authorization: Bearer {}\r\n", std::env::var("CODRAFT_TOKEN").unwrap_or_default());
    let text = adapters::codraft::text(a.num("preload", 2000.0) as usize);
    let next = AtomicUsize::new(0);
    let t0 = now_ns();
    let one = || {
        let (mut ids, mut hist, mut again) = (vec![], Hist::new(), 0u64);
        let mut stream = BufReader::new(std::net::TcpStream::connect((host.as_str(), port)).expect("connect"));
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= docs {
                return (ids, hist, again);
            }
            let body = json!({"title": format!("document {n}"), "kind": "text", "initial": text}).to_string();
            let t = now_ns();
            loop {
                let (code, answer) = post(&mut stream, &head, "/v1/docs", &body).expect("create");
                if code == 201 || code == 200 {
                    let v: Value = serde_json::from_str(&answer).unwrap_or_default();
                    ids.push(v["id"].as_str().expect("id").to_string());
                    break;
                }
                again += 1;
                assert!(again < 100_000, "create: {code} {answer}");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            hist.add(now_ns() - t);
        }
    };
    let (mut ids, mut p99, mut again) = (vec![], 0f64, 0);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        for thread in all {
            let (own, hist, more) = thread.join().expect("thread");
            ids.extend(own);
            p99 = p99.max(hist.q(0.99));
            again += more;
        }
    });
    let wall = (now_ns() - t0) as f64 / 1e9;
    std::fs::write(a.get("ids", ""), ids.join("\n")).expect("ids");
    json!({"docs": docs, "wall_s": wall, "docs_s": (docs as f64 / wall).round(), "create_p99_ms": p99, "tried_again": again})
}

/// Opens --n random documents of the file --ids one after the other, each once: from TCP connect to
/// its whole text.
pub fn cold(a: &Args) -> Value {
    let ids = std::fs::read_to_string(a.get("ids", "")).expect("ids");
    let ids: Vec<&str> = ids.lines().collect();
    let n = (a.num("n", 1000.0) as usize).min(ids.len());
    let (mut hist, mut first, mut length) = (Hist::new(), 0, 0);
    // A step that has no divisor in common with their number meets each at most once.
    let step = (ids.len() as f64 * 0.618) as usize | 1;
    for k in 0..n {
        let id = ids[(k * step) % ids.len()];
        let mut w = World::new();
        w.per_doc = vec![0];
        let mut c = base_cfg(a, id.to_string(), k as u32);
        c.keep = true;
        let t = now_ns();
        w.add("codraft", c, 0, false);
        if !w.wait_ready(0, 15.0) {
            return json!({"failed": "open", "doc": id, "opened": k});
        }
        let took = now_ns() - t;
        if k == 0 {
            first = took;
        }
        hist.add(took);
        length = w.peers[0].c.text_len();
    }
    json!({"opened": n, "of": ids.len(), "first_ms": first as f64 / 1e6, "open_ms": hist.json(), "text_len": length})
}
