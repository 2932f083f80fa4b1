//! One adapter per wire protocol. To measure another server, add a file that implements `Client`
//! and a line in `make`.
pub mod codraft;
pub mod sharedb;
pub mod yjs;
use crate::net::Out;

/// What an adapter tells the harness.
pub enum Ev {
    /// The document is open and its state has been received.
    Ready,
    /// The server has accepted own op `seq`.
    Ack(u32),
    /// Ops `seq .. seq + n` of the connection `wid` have arrived here.
    Remote { wid: u32, seq: u32, n: u32 },
    /// The server refused something.
    Error(String),
}

/// What a connection is.
#[derive(Clone)]
pub struct Cfg {
    pub host: String,
    pub port: u16,
    /// a number unique to this run (14 bits)
    pub run: u32,
    /// this connection's number, unique in the run
    pub wid: u32,
    pub doc: String,
    /// first connection of this document: creates it when it is not there yet
    pub creator: bool,
    /// characters that the creator puts in first
    pub preload: usize,
    /// where in the preloaded text this writer types: cursor = preload * at_num / at_den
    pub at_num: usize,
    pub at_den: usize,
    /// keep the received state, so that `text()` works
    pub keep: bool,
}

pub trait Client {
    fn path(&self) -> String;
    fn headers(&self) -> String {
        String::new()
    }
    fn opened(&mut self, out: &mut Out);
    fn message(&mut self, binary: bool, d: &[u8], out: &mut Out, ev: &mut Vec<Ev>);
    /// Type one character at the own cursor; returns the op's seq (consecutive per connection, any start).
    fn insert(&mut self, out: &mut Out) -> u32;
    /// One patch of an editing trace: at `pos` delete `del`, insert `ins` (only for one single writer).
    fn patch(&mut self, pos: usize, del: usize, ins: &str, out: &mut Out) -> u32;
    /// how many own ops may be unacknowledged at a time
    fn max_in_flight(&self) -> usize;
    /// length in characters of the state received at open (with `keep`)
    fn text_len(&self) -> usize;
}

pub fn make(proto: &str, cfg: Cfg) -> Box<dyn Client> {
    match proto {
        "sharedb" => Box::new(sharedb::ShareDb::new(cfg, false)),
        "sharedb-rich" => Box::new(sharedb::ShareDb::new(cfg, true)),
        "y-websocket" => Box::new(yjs::Yjs::new(cfg, yjs::Flavor::Plain)),
        "y-sweet" => Box::new(yjs::Yjs::new(cfg, yjs::Flavor::YSweet)),
        "hocuspocus" => Box::new(yjs::Yjs::new(cfg, yjs::Flavor::Hocuspocus)),
        "codraft" => Box::new(codraft::Codraft::new(cfg)),
        _ => panic!("unknown --proto {proto}"),
    }
}

/// Once per document, before any connection (REST calls some servers want).
pub fn prepare(proto: &str, host: &str, port: u16, doc: &str, preload: usize) {
    if proto == "codraft" {
        codraft::prepare(host, port, doc, preload);
    }
    if proto == "y-sweet" {
        let r = crate::net::http(host, port, "POST", "/doc/new", &format!("{{\"docId\":\"{doc}\"}}"));
        if let Ok((c, b)) = r {
            if c != 200 {
                eprintln!("/doc/new {c} {b}");
            }
        }
    }
}
