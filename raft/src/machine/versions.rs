//! Names that people gave to versions of a document.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{NoteId, Revision, Seq, UserId},
    reject::Code,
};

use super::{MachineLimits, Outcome, Refusal, stored::StateError};
use crate::command::{self, Input, put_blob, put_varint};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub version: Revision,
    pub name: Box<str>,
    pub by: UserId,
    /// The revision that gave it the name.
    pub rev: Revision,
    pub ts_ms: u64,
}

/// Of one document. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    named: Arc<BTreeMap<NoteId, Version>>,
    bytes: usize,
}

impl Versions {
    /// By their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&NoteId, &Version)> {
        self.named.iter()
    }

    pub fn len(&self) -> usize {
        self.named.len()
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// What they take in memory, about.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Which revision a command gives a name to, if it may; `set` performs it.
    pub(super) fn judge(
        &self,
        command: &command::Version,
        may_edit: bool,
        head: Revision,
        limits: &MachineLimits,
    ) -> Result<Revision, Outcome> {
        let refused = |code, message: String| Err(Outcome::Refused(Refusal::new(code, message)));
        if !may_edit {
            let message = "the role does not allow to name versions";
            return refused(Code::Forbidden, message.into());
        }
        let version = command.version.unwrap_or(head);
        if let Some(there) = self.named.get(&command.id) {
            let is_same = there.name == command.name
                && there.by == command.by
                && command.version.is_none_or(|asked| asked == there.version);
            return match is_same {
                true => Err(Outcome::Already {
                    seq: Seq(0),
                    rev: there.rev,
                }),
                false => refused(Code::Exists, "there is a version of this id".into()),
            };
        }
        let (most, name) = (limits.version_bytes, &command.name);
        if name.is_empty() || name.len() > most || name.chars().any(char::is_control) {
            let message = format!("a name has 1 to {most} bytes, and no control characters");
            return refused(Code::Malformed, message);
        }
        if !(Revision(1)..=head).contains(&version) {
            return refused(Code::NoVersion, format!("there is no revision {version}"));
        }
        if self.named.len() >= limits.versions {
            let message = format!("more than {} named versions", limits.versions);
            return refused(Code::DocumentFull, message);
        }
        Ok(version)
    }

    pub(super) fn set(
        &mut self,
        command: &command::Version,
        version: Revision,
        rev: Revision,
        ts_ms: u64,
    ) {
        let named = Version {
            version,
            name: command.name.clone(),
            by: command.by.clone(),
            rev,
            ts_ms,
        };
        self.bytes += bytes(&named);
        Arc::make_mut(&mut self.named).insert(command.id, named);
    }

    /// Appends the stored form: see `stored.rs`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.named.len() as u64);
        for (id, named) in self.named.iter() {
            out.extend_from_slice(&id.0);
            put_varint(out, named.version.0);
            put_blob(out, named.name.as_bytes());
            put_blob(out, named.by.as_bytes());
            put_varint(out, named.rev.0);
            put_varint(out, named.ts_ms);
        }
    }

    /// Reads those of a document whose head is `head`.
    pub(super) fn decode(input: &mut Input<'_>, head: Revision) -> Result<Self, StateError> {
        let mut all: BTreeMap<NoteId, Version> = BTreeMap::new();
        for _ in 0..input.varint("versions")? {
            let id = NoteId(input.array("id")?);
            let named = Version {
                version: Revision(input.varint("version")?),
                name: input.text("name")?.into(),
                by: input.text("by")?.into(),
                rev: Revision(input.varint("rev")?),
                ts_ms: input.varint("ts ms")?,
            };
            let rises = all.last_key_value().is_none_or(|(last, _)| *last < id);
            if !rises || named.version >= named.rev || named.rev > head {
                return Err(StateError::Invalid("named version"));
            }
            all.insert(id, named);
        }
        Ok(Self {
            bytes: all.values().map(bytes).sum(),
            named: Arc::new(all),
        })
    }
}

fn bytes(named: &Version) -> usize {
    const REST: usize = 128;
    REST + named.name.len() + named.by.len()
}
