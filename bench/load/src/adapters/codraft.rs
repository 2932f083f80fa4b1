//! Codraft's `codraft.v1.bin` (proto/src/frame/binary.rs), one op in flight per document.
use super::{Cfg, Client, Ev};
use crate::net::{http_with, Out};
use std::{collections::HashMap, sync::Mutex};

/// name in the run -> document id
static DOCS: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

const OP: u8 = 3;
const HELLO: u8 = 32;
const CLIENT_OP: u8 = 33;
const LAST: u8 = 0x80;

fn token() -> String {
    std::env::var("CODRAFT_TOKEN").unwrap_or_default()
}

pub fn text(n: usize) -> String {
    "lorem ipsum dolor sit amet ".chars().cycle().take(n).collect()
}

/// Creates the document over REST, with its first text.
pub fn prepare(host: &str, port: u16, doc: &str, preload: usize) {
    let body = serde_json::json!({"title": doc, "kind": "text", "initial": text(preload)}).to_string();
    let head = format!("Authorization: Bearer {}\r\n", token());
    let (code, answer) = http_with(host, port, "POST", "/v1/docs", &head, &body).expect("create");
    let v: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    let id = v["id"].as_str().unwrap_or_else(|| panic!("create: {code} {answer}")).to_string();
    DOCS.lock().unwrap().get_or_insert_with(HashMap::new).insert(doc.to_string(), id);
}

/// The id of a document that this run made.
pub fn id(name: &str) -> Option<String> {
    DOCS.lock().unwrap().as_ref()?.get(name).cloned()
}

struct Author {
    wid: Option<u32>,
    seen: u32,
}

pub struct Codraft {
    c: Cfg,
    rev: u64,
    seq: u32,
    cursor: usize,
    pending: bool,
    me: Option<usize>,
    slots: Vec<Option<Author>>,
    len: usize,
}

impl Codraft {
    pub fn new(c: Cfg) -> Self {
        Codraft { c, rev: 0, seq: 0, cursor: 0, pending: false, me: None, slots: vec![], len: 0 }
    }
    fn client(run: u32, wid: u32) -> String {
        format!("{run:016x}{wid:016x}")
    }
    fn who(&mut self, slot: usize, client: &str) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        let run = u64::from_str_radix(&client[..16], 16).unwrap_or(u64::MAX);
        let wid = u64::from_str_radix(&client[16..], 16).ok().filter(|_| run == self.c.run as u64).map(|w| w as u32);
        if client == Self::client(self.c.run, self.c.wid) {
            self.me = Some(slot);
        }
        self.slots[slot] = Some(Author { wid, seen: 0 });
    }
    fn send(&mut self, delta: &[u8], out: &mut Out) -> u32 {
        self.seq += 1;
        self.pending = true;
        let mut m = Vec::with_capacity(24);
        m.push(CLIENT_OP | LAST);
        vu(&mut m, self.seq as u64);
        vu(&mut m, self.rev);
        m.extend_from_slice(delta);
        out.bin(&m);
        self.seq
    }
    fn op(&mut self, body: &[u8], ev: &mut Vec<Ev>) -> Option<()> {
        let mut r = body;
        let slot = take(&mut r)? as usize;
        take(&mut r)?;
        self.rev += 1;
        if Some(slot) == self.me {
            self.pending = false;
            self.cursor += 1;
            ev.push(Ev::Ack(self.seq));
            return Some(());
        }
        // Only what the harness's writers send needs to move the cursor: one inserted character.
        let head = take(&mut r)?;
        let at = if head & 3 == 0 { (head >> 2) as usize } else { 0 };
        if at <= self.cursor {
            self.cursor += 1;
        }
        let author = self.slots.get_mut(slot)?.as_mut()?;
        author.seen += 1;
        ev.push(Ev::Remote { wid: author.wid?, seq: author.seen, n: 1 });
        Some(())
    }
    fn json(&mut self, kind: u8, v: &serde_json::Value, ev: &mut Vec<Ev>) {
        match kind {
            1 => {
                self.rev = v["rev"].as_u64().unwrap_or(0);
                for w in v["who"].as_array().into_iter().flatten() {
                    self.who(w["slot"].as_u64().unwrap_or(0) as usize, w["client"].as_str().unwrap_or_default());
                }
                self.cursor = self.c.preload * self.c.at_num / self.c.at_den.max(1);
                ev.push(Ev::Ready);
            }
            2 => self.who(v["slot"].as_u64().unwrap_or(0) as usize, v["client"].as_str().unwrap_or_default()),
            _ => ev.push(Ev::Error(v.to_string())),
        }
    }
}

fn vu(b: &mut Vec<u8>, mut v: u64) {
    while v > 127 {
        b.push(0x80 | (v as u8 & 127));
        v >>= 7;
    }
    b.push(v as u8);
}
fn take(b: &mut &[u8]) -> Option<u64> {
    let (mut v, mut s) = (0u64, 0);
    loop {
        let (x, rest) = b.split_first()?;
        *b = rest;
        v |= ((x & 127) as u64) << s;
        if *x < 128 {
            return Some(v);
        }
        s += 7;
    }
}

impl Client for Codraft {
    fn path(&self) -> String {
        let docs = DOCS.lock().unwrap();
        format!("/v1/collab/{}", docs.as_ref().and_then(|d| d.get(&self.c.doc)).unwrap_or(&self.c.doc))
    }
    fn headers(&self) -> String {
        format!("Authorization: Bearer {}\r\nSec-WebSocket-Protocol: codraft.v1.bin\r\n", token())
    }
    fn opened(&mut self, out: &mut Out) {
        let mut m = vec![HELLO | LAST];
        let client = Self::client(self.c.run, self.c.wid);
        m.extend_from_slice(format!(r#"{{"type":"hello","client":"{client}","unsent":false}}"#).as_bytes());
        out.bin(&m);
    }
    fn message(&mut self, _b: bool, d: &[u8], _out: &mut Out, ev: &mut Vec<Ev>) {
        let mut rest = d;
        while let Some((head, r)) = rest.split_first() {
            rest = r;
            let body;
            if head & LAST != 0 {
                (body, rest) = (rest, &rest[rest.len()..]);
            } else {
                let Some(n) = take(&mut rest) else { return };
                (body, rest) = rest.split_at(n as usize);
            }
            match head & 0x3f {
                OP => {
                    self.op(body, ev);
                }
                1 => {
                    let mut r = body;
                    let n = take(&mut r).unwrap_or(0) as usize;
                    let v: serde_json::Value = serde_json::from_slice(&r[..n]).unwrap_or_default();
                    if self.c.keep {
                        // A plain document is one insert of UTF-8.
                        let mut doc = &r[n..];
                        take(&mut doc);
                        self.len = String::from_utf8_lossy(doc).chars().count();
                    }
                    self.json(1, &v, ev);
                }
                kind @ (2 | 7 | 12 | 14) => {
                    let v: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                    self.json(kind, &v, ev);
                }
                4 | 5 => self.rev += 1,
                _ => {}
            }
        }
    }
    fn insert(&mut self, out: &mut Out) -> u32 {
        let mut delta = Vec::with_capacity(8);
        if self.cursor > 0 {
            vu(&mut delta, (self.cursor as u64) << 2);
        }
        delta.extend_from_slice(&[1 << 2 | 2, b'x']);
        self.send(&delta, out)
    }
    fn patch(&mut self, pos: usize, del: usize, ins: &str, out: &mut Out) -> u32 {
        let mut delta = Vec::new();
        if pos > 0 {
            vu(&mut delta, (pos as u64) << 2);
        }
        if !ins.is_empty() {
            vu(&mut delta, (ins.len() as u64) << 2 | 2);
            delta.extend_from_slice(ins.as_bytes());
        }
        if del > 0 {
            vu(&mut delta, (del as u64) << 2 | 1);
        }
        self.send(&delta, out)
    }
    fn max_in_flight(&self) -> usize {
        1
    }
    fn text_len(&self) -> usize {
        self.len
    }
}
