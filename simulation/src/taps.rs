//! What the product tells of itself (`raft/src/tap.rs`), as the record has it.

use std::fmt;

use tracing::field::{Field, Visit};

use crate::{
    naive,
    record::{Edit, Hash, Id, NodeSeen, Run, Seen, author},
};

pub const TARGET: &str = "codraft_record";

/// `node`, `life`: of the host that the event came from (a router's queues are told of too).
/// Nothing for what is no tap, or is none that is known.
pub fn read(node: u64, life: u64, event: &tracing::Event<'_>) -> Option<Seen> {
    if event.metadata().target() != TARGET {
        return None;
    }
    let mut fields = Fields::default();
    event.record(&mut fields);
    fields.seen(node, life).map(Seen::Node)
}

#[derive(Default)]
struct Fields {
    numbers: Vec<(&'static str, u64)>,
    bytes: Vec<(&'static str, Vec<u8>)>,
    texts: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.push((field.name(), value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.numbers.push((field.name(), value.into()));
    }
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.bytes.push((field.name(), value.to_vec()));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.texts.push((field.name(), value.to_owned()));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.texts.push((field.name(), format!("{value:?}")));
    }
}

impl Fields {
    fn number(&self, name: &str) -> Option<u64> {
        let mut all = self.numbers.iter();
        all.find(|(key, _)| *key == name).map(|(_, n)| *n)
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.bytes.iter();
        all.find(|(key, _)| *key == name).map(|(_, b)| &b[..])
    }

    fn text(&self, name: &str) -> Option<&str> {
        let mut all = self.texts.iter();
        all.find(|(key, _)| *key == name).map(|(_, t)| &t[..])
    }

    fn hash(&self, name: &str) -> Option<Hash> {
        self.bytes(name)?.try_into().ok()
    }

    fn runs(&self) -> Option<Vec<Run>> {
        let runs = self.bytes("runs")?.chunks(64);
        Some(runs.filter_map(run).collect())
    }

    fn id(&self, name: &str) -> Option<Id> {
        self.bytes(name)?.try_into().ok()
    }

    fn author(&self) -> Option<Id> {
        Some(author(self.text("user")?, &self.id("client")?))
    }

    fn group(&self) -> Option<u32> {
        u32::try_from(self.number("group")?).ok()
    }

    fn seen(&self, node: u64, life: u64) -> Option<NodeSeen> {
        let index = || self.number("index");
        Some(match self.text("what")? {
            "voted" => {
                let vote = self.bytes("vote")?;
                NodeSeen::Voted {
                    node,
                    life,
                    group: self.group()?,
                    term: word(vote, 0)?,
                    candidate: word(vote, 8)?,
                    committed: *vote.get(16)? == 1,
                }
            }
            "appended" => {
                let record = self.bytes("record")?;
                NodeSeen::Appended {
                    node,
                    life,
                    group: self.group()?,
                    index: index()?,
                    term: word(record, 2)?,
                    leader: word(record, 10)?,
                    hash: *blake3::hash(record).as_bytes(),
                    voters: voters(record).unwrap_or_default(),
                }
            }
            "synced" => NodeSeen::Synced {
                node,
                life,
                group: self.group()?,
                index: index()?,
            },
            "truncated" => NodeSeen::Truncated {
                node,
                life,
                group: self.group()?,
                index: index()?,
            },
            "recovered" => NodeSeen::Recovered {
                node,
                life,
                damaged: self.number("damaged")? == 1,
                cut: self.number("cut")?,
            },
            "committed" => NodeSeen::Committed {
                node,
                life,
                group: self.group()?,
                index: index()?,
            },
            "leads" => NodeSeen::Leads {
                node,
                life,
                group: self.group()?,
                term: self.number("term")?,
            },
            "suspects" => NodeSeen::Suspects {
                node,
                life,
                about: self.number("about")?,
                evidence: self.number("evidence")? == 1,
            },
            "takes over" => NodeSeen::TakesOver {
                node,
                life,
                group: self.group()?,
                from: self.number("from")?,
            },
            "trims" => NodeSeen::Trims {
                doc: self.id("doc")?,
                floor: self.number("floor")?,
            },
            "promotes" => NodeSeen::Promotes {
                node,
                group: self.group()?,
                voter: self.number("node")?,
            },
            "applied" => self.applied(node, life)?,
            "outcome" => NodeSeen::Outcome {
                node,
                life,
                group: self.group()?,
                index: index()?,
                doc: self.id("doc")?,
                client: self.author(),
                seq: self.number("seq")?,
                outcome: self.text("outcome")?.to_owned(),
            },
            "kept" => NodeSeen::Kept {
                node,
                life,
                group: self.group()?,
                index: index()?,
                hash: self.hash("hash")?,
                archived: self.hash("archived")?,
                events: places(self.bytes("events")?),
            },
            "installed" => NodeSeen::Installed {
                node,
                life,
                group: self.group()?,
                index: index()?,
                hash: self.hash("hash")?,
                archived: self.hash("archived")?,
                events: places(self.bytes("events")?),
            },
            "archived" => NodeSeen::Archived {
                node,
                group: self.group()?,
                rounds: self.number("rounds")?,
                index: index()?,
                before: self.hash("before")?,
                head: self.hash("head")?,
                runs: self.runs()?,
            },
            "adopted" => NodeSeen::Adopted {
                node,
                group: self.group()?,
                head: self.hash("head")?,
            },
            "logged" => NodeSeen::Logged {
                node,
                place: *places(self.bytes("place")?).first()?,
                runs: self.runs()?,
            },
            "sync failed" => NodeSeen::SyncFailed { node, life },
            "purged" => NodeSeen::Purged {
                node,
                life,
                group: self.group()?,
                index: index()?,
            },
            "restored" => NodeSeen::Restored {
                node,
                life,
                group: self.group()?,
                index: index()?,
            },
            "lacks" => NodeSeen::Lacks {
                node,
                life,
                group: self.group()?,
            },
            "recovers" => NodeSeen::Recovers {
                node,
                life,
                group: self.group()?,
                index: index()?,
            },
            "mended" => NodeSeen::Mended { node },
            "cooled" => NodeSeen::Cooled {
                node,
                documents: self.number("documents")?,
            },
            "prefetched" => NodeSeen::Prefetched {
                node,
                documents: self.number("documents")?,
            },
            "state" => NodeSeen::State {
                node,
                group: self.group()?,
                index: index()?,
                digest: self.hash("digest")?,
            },
            "filled" => NodeSeen::Filled {
                node,
                what: self.text("of")?.to_owned(),
                most: self.number("most")?,
                bound: self.number("bound")?,
            },
            _ => return None,
        })
    }

    fn applied(&self, node: u64, life: u64) -> Option<NodeSeen> {
        const EDIT: u64 = 0;
        const CREATE: u64 = 1;
        const GRANT: u64 = 2;
        const RESTORE: u64 = 6;
        let kind = self.number("kind")?;
        let body = self.bytes("body")?;
        let restored = match kind {
            RESTORE => Some(restored(body)?),
            _ => None,
        };
        let (restores, restored) = restored.unzip();
        let edit = match kind {
            EDIT => Some(naive::decode(body).ok()?),
            RESTORE => restored,
            CREATE => Some(created(body)?),
            _ => None,
        };
        let grant = (kind == GRANT).then(|| granted(body)).flatten();
        Some(NodeSeen::Applied {
            node,
            life,
            group: self.group()?,
            index: self.number("index")?,
            doc: self.id("doc")?,
            rev: self.number("rev")?,
            kind: codraft_proto::event::name(kind as u32).to_owned(),
            user: self.text("user")?.to_owned(),
            client: self.author(),
            seq: self.number("seq")?,
            ts_ms: self.number("ts_ms")?,
            edit,
            restores,
            grant,
            chain: self.hash("chain")?,
        })
    }
}

/// File and offset, four bytes each.
fn places(bytes: &[u8]) -> Vec<(u32, u32)> {
    let half = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let place = |bytes: &[u8]| Some((half(&bytes[..4])?, half(&bytes[4..])?));
    bytes.chunks_exact(8).filter_map(place).collect()
}

/// Document, first and last revision, chain hash.
fn run(bytes: &[u8]) -> Option<Run> {
    Some(Run {
        doc: bytes.get(..16)?.try_into().ok()?,
        first: word(bytes, 16)?,
        last: word(bytes, 24)?,
        chain: bytes.get(32..64)?.try_into().ok()?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// The voters of a stored entry that is a membership: sets, each its count and its nodes.
fn voters(record: &[u8]) -> Option<Vec<Vec<u64>>> {
    const MEMBERSHIP: u8 = 2;
    const HEAD: usize = 26;
    if *record.get(1)? != MEMBERSHIP {
        return None;
    }
    let mut at = HEAD;
    let mut next = || {
        let word = word(record, at);
        at += 8;
        word
    };
    (0..next()?)
        .map(|_| (0..next()?).map(|_| next()).collect())
        .collect()
}

/// The inserts that a document starts with: kind, algebra, title and then these; nothing for
/// the empty one of its kind, which for a rich one (2) is a line break.
fn created(body: &[u8]) -> Option<Vec<Edit>> {
    let (&kind, rest) = body.split_first()?;
    let mut rest = rest.get(1..)?;
    let title = naive::varint(&mut rest).ok()?;
    let inserts = naive::decode(rest.get(usize::try_from(title).ok()?..)?).ok()?;
    if inserts.is_empty() && kind == 2 {
        return Some(vec![Edit::Insert("\n".into(), Vec::new())]);
    }
    Some(inserts)
}

/// The version, the authors of what comes back (their length first), then the operation.
fn restored(mut body: &[u8]) -> Option<(u64, Vec<Edit>)> {
    let version = naive::varint(&mut body).ok()?;
    let authors = naive::varint(&mut body).ok()?;
    let ops = body.get(usize::try_from(authors).ok()?..)?;
    Some((version, naive::decode(ops).ok()?))
}

/// The role's number (0: none any more), then the user.
fn granted(body: &[u8]) -> Option<(String, Option<String>)> {
    let (&role, user) = body.split_first()?;
    let user = std::str::from_utf8(user).ok()?.to_owned();
    let role = codraft_proto::ids::Role::from_number(role.into());
    Some((user, role.map(|role| role.as_str().to_owned())))
}

#[cfg(test)]
mod tests;
