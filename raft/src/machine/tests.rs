//! A machine to ask questions of, and the questions.

#![allow(clippy::unwrap_used)]

mod anchors;
mod clients;
mod comments;
mod edits;
mod events;
mod grants;
mod lifecycle;
mod quarantine;
mod replicas;
mod restores;
mod stored;
mod titles;
mod window;

use bytes::Bytes;
use codraft_ot::{Delta, Kind};
use codraft_proto::{
    ids::{ClientId, DocId, GroupId, Revision, Role, Seq},
    reject::Code,
};

use super::{Applied, Document, MachineLimits, Outcome, Shard};
use crate::command::{self, Algebra, Batch, Command, Create, Edit};

const DOC: DocId = DocId([7; 16]);
const ADA: &str = "ada";
const BOB: &str = "bob";
const EVE: &str = "eve";

/// A shard fed with one command an entry.
struct World {
    shard: Shard,
    index: u64,
    ts_ms: u64,
}

impl World {
    fn empty(limits: MachineLimits) -> Self {
        Self {
            shard: Shard::new(GroupId(0), limits),
            index: 0,
            ts_ms: 1_000,
        }
    }

    /// A text of ada's, at revision 1.
    fn with(limits: MachineLimits) -> Self {
        Self::with_kind(limits, Kind::Text)
    }

    fn with_kind(limits: MachineLimits, kind: Kind) -> Self {
        let mut world = Self::empty(limits);
        assert_eq!(
            world.apply(create(kind, ADA)).outcome,
            Outcome::Applied { rev: Revision(1) }
        );
        world
    }

    fn new() -> Self {
        Self::with(MachineLimits::default())
    }

    /// A text that ada owns and bob edits, at revision 2.
    fn shared() -> Self {
        let mut world = Self::new();
        assert_eq!(
            world.grant(ADA, BOB, Some(Role::Editor)),
            Outcome::Applied { rev: Revision(2) }
        );
        world
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.index += 1;
        let batch = Batch {
            ts_ms: self.ts_ms,
            commands: vec![command],
        };
        self.shard.apply(self.index, &batch).pop().unwrap()
    }

    fn grant(&mut self, by: &str, user: &str, role: Option<Role>) -> Outcome {
        let grant = command::Grant {
            doc: DOC,
            by: by.into(),
            user: user.into(),
            role,
        };
        self.apply(Command::Grant(grant)).outcome
    }

    fn edit(&mut self, user: &str, client: u8, seq: u64, base: u64, delta: &Delta) -> Outcome {
        self.apply(edit(user, client, seq, base, delta)).outcome
    }

    /// Ada types one letter per event, each by client `client`, until the head is `rev`.
    fn type_until(&mut self, client: u8, rev: u64) {
        let mut seq = self
            .doc()
            .acked(&ADA.into(), id(client))
            .map_or(Seq(0), |(seq, _)| seq);
        while self.head() < rev {
            seq += 1;
            let head = self.head();
            let typed = self.edit(ADA, client, seq.0, head, &insert(0, "x"));
            assert_eq!(
                typed,
                Outcome::Applied {
                    rev: Revision(head + 1)
                }
            );
        }
    }

    fn doc(&self) -> &Document {
        self.shard.document(&DOC).present().unwrap()
    }
    fn head(&self) -> u64 {
        self.doc().rev().0
    }
    fn text(&self) -> String {
        self.doc().content().text()
    }
}

fn id(client: u8) -> ClientId {
    ClientId([client; 16])
}

fn create(kind: Kind, owner: &str) -> Command {
    create_with(kind, owner, None)
}

fn create_with(kind: Kind, owner: &str, initial: Option<&Delta>) -> Command {
    Command::Create(Create {
        doc: DOC,
        kind,
        algebra: Algebra::Delta1,
        title: "Notes".into(),
        owner: owner.into(),
        initial: initial.map(|delta| delta.to_bytes().into()),
    })
}

fn edit(user: &str, client: u8, seq: u64, base: u64, delta: &Delta) -> Command {
    edit_bytes(user, client, seq, base, delta.to_bytes().into())
}

fn edit_bytes(user: &str, client: u8, seq: u64, base: u64, ops: Bytes) -> Command {
    Command::Edit(Edit {
        doc: DOC,
        client: id(client),
        user: user.into(),
        seq: Seq(seq),
        base: Revision(base),
        ops,
    })
}

fn insert(at: u32, text: &str) -> Delta {
    let mut delta = Delta::new();
    if at > 0 {
        delta.retain(at);
    }
    delta.insert(text);
    delta
}

fn delete(at: u32, units: u32) -> Delta {
    let mut delta = Delta::new();
    if at > 0 {
        delta.retain(at);
    }
    delta.delete(units);
    delta
}

fn refused(outcome: &Outcome) -> Option<Code> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// A window of at most 8 events, cut to 4.
fn small_window() -> MachineLimits {
    MachineLimits {
        window_events: 8,
        ..MachineLimits::default()
    }
}
