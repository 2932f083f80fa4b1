//! What became of each client's last operation, so that every operation is applied once. A client
//! is known by its user and its id: the id is a name that others may learn, so the same id of
//! another user is another client.
//!
//! A record goes exactly when its `at_rev` is below the window's floor; what only a refusal
//! keeps, when it is below the oldest base that is taken, which may be later. Why that loses
//! nothing: whatever was answered finally had a base at or below `at_rev` (kept so by `settle`,
//! `refused` and `applied`), so the base of any repeat is too old as well, and a repeat can only
//! be answered `rebase`.

use std::collections::BTreeMap;

use codraft_mutant::mutant;
use codraft_proto::{
    ids::{ClientId, Revision, Seq, UserId},
    reject::Code,
};

use super::stored::StateError;
use crate::command::{Edit, Input, put_blob, put_varint};

/// Tells an operation's bytes from others under the same sequence: the first half of the
/// BLAKE3 of base (eight bytes, little-endian) and ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PayloadHash([u8; 16]);

impl PayloadHash {
    pub fn of(base: Revision, ops: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&base.0.to_le_bytes());
        hasher.update(ops);
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(half)
    }

    /// Of a restore: the version. It is made anew where the head has moved, and is the same one.
    pub fn of_restore(version: Revision) -> Self {
        Self::of(version, b"restore")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    Applied(Revision),
    Refused(Code),
}

/// The last operation of a client that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastApplied {
    seq: Seq,
    rev: Revision,
}

#[derive(Debug, Clone)]
struct Record {
    /// The last operation that was decided, and how.
    seq: Seq,
    payload: PayloadHash,
    outcome: Recorded,
    /// The last that was applied: what the client's acknowledgement is.
    last_applied: Option<LastApplied>,
    /// The lowest sequence that was refused because it skipped one. It stays refused, or a
    /// late copy would be applied after all when the sequences before it have come.
    skipped_to: Option<Seq>,
    /// The head when the record was last touched.
    at_rev: Revision,
}

impl Record {
    /// Not one of the events at or above `at_rev` is this client's: a refusal alone keeps it.
    fn lives_by_refusal(&self) -> bool {
        self.at_rev > self.last_applied.map_or(Revision(0), |last| last.rev)
    }
}

/// Which client it is, and whose.
type Key = (ClientId, UserId);

fn key(edit: &Edit) -> Key {
    let user = match mutant!("clients_keyed_without_user") {
        true => UserId::from(""),
        false => edit.user.clone(),
    };
    (edit.client, user)
}

/// The records of one document.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    records: BTreeMap<Key, Record>,
    /// How many of them live by a refusal; bounded, since no event pays for them.
    by_refusal: usize,
}

/// How an operation stands to its client's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The next one, or the first of a client without a record.
    Next,
    /// The very operation that was decided last.
    Repeat(Recorded),
    /// An older sequence. The revision of the last that was applied.
    Older(Revision),
    /// The last sequence with other bytes.
    OtherBytes,
    Gap,
}

/// The records that live by a refusal are at their limit: nothing may be answered finally.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Clients {
    pub fn standing(&self, edit: &Edit, payload: PayloadHash) -> Standing {
        let Some(record) = self.records.get(&key(edit)) else {
            return Standing::Next;
        };
        if edit.seq < record.seq {
            if mutant!("older_sequence_applied") {
                return Standing::Next;
            }
            return Standing::Older(record.last_applied.map_or(Revision(0), |last| last.rev));
        }
        if edit.seq == record.seq {
            return match record.payload == payload {
                true => Standing::Repeat(record.outcome),
                false if mutant!("same_sequence_with_other_bytes") => Standing::Next,
                false => Standing::OtherBytes,
            };
        }
        if edit.seq > record.seq + 1 || record.skipped_to == Some(edit.seq) {
            return Standing::Gap;
        }
        Standing::Next
    }

    /// Keeps the record for as long as `edit` could be applied without it: called before
    /// `edit` is answered finally from a record that stays as it is. `gap` bars its
    /// sequence for good.
    pub fn settle(
        &mut self,
        edit: &Edit,
        gap: bool,
        head: Revision,
        most: usize,
    ) -> Result<(), Full> {
        let Some(record) = self.records.get_mut(&key(edit)) else {
            return Ok(());
        };
        if edit.base > record.at_rev {
            if !record.lives_by_refusal() {
                if self.by_refusal >= most {
                    return Err(Full);
                }
                self.by_refusal += 1;
            }
            record.at_rev = head;
        }
        if gap {
            let lowest = record
                .skipped_to
                .map_or(edit.seq, |before| before.min(edit.seq));
            record.skipped_to = Some(lowest);
        }
        Ok(())
    }

    /// Records that `edit` was refused for good.
    pub fn refused(
        &mut self,
        edit: &Edit,
        payload: PayloadHash,
        code: Code,
        head: Revision,
        most: usize,
    ) -> Result<(), Full> {
        let lived = self
            .records
            .get(&key(edit))
            .is_some_and(Record::lives_by_refusal);
        if !lived && self.by_refusal >= most && !mutant!("refusal_records_without_bound") {
            return Err(Full);
        }
        let record = self.decide(edit, payload, Recorded::Refused(code), head);
        let lives = record.lives_by_refusal();
        self.recount(lived, lives);
        Ok(())
    }

    /// Records that `edit` took revision `rev`, which is now the head.
    pub fn applied(&mut self, edit: &Edit, payload: PayloadHash, rev: Revision) {
        let lived = self
            .records
            .get(&key(edit))
            .is_some_and(Record::lives_by_refusal);
        let record = self.decide(edit, payload, Recorded::Applied(rev), rev);
        record.last_applied = Some(LastApplied { seq: edit.seq, rev });
        self.recount(lived, false);
    }

    fn decide(
        &mut self,
        edit: &Edit,
        payload: PayloadHash,
        outcome: Recorded,
        head: Revision,
    ) -> &mut Record {
        let record = self.records.entry(key(edit)).or_insert_with(|| Record {
            seq: edit.seq,
            payload,
            outcome,
            last_applied: None,
            skipped_to: None,
            at_rev: head,
        });
        record.seq = edit.seq;
        record.payload = payload;
        record.outcome = outcome;
        record.at_rev = head;
        record
    }

    fn recount(&mut self, lived: bool, lives: bool) {
        match (lived, lives) {
            (false, true) => self.by_refusal += 1,
            (true, false) => self.by_refusal -= 1,
            _ => {}
        }
    }

    /// Drops the records that the window's floor has passed.
    pub fn evict_below(&mut self, floor: Revision) {
        self.records.retain(|_, record| record.at_rev >= floor);
        self.by_refusal = self.living_by_refusal();
    }

    /// Lets go what only a refusal keeps and the oldest base has passed. Who has something in the
    /// window keeps the record of that: it is what a welcome tells them.
    pub fn expire_below(&mut self, oldest: Revision, floor: Revision) {
        self.records.retain(|_, record| {
            if record.lives_by_refusal() && record.at_rev < oldest {
                let Some(last) = record.last_applied else {
                    return false;
                };
                record.at_rev = last.rev;
            }
            record.at_rev >= floor
        });
        self.by_refusal = self.living_by_refusal();
    }

    /// Those whose last operation panicked.
    pub fn faults(&self) -> usize {
        let faults = Recorded::Refused(Code::Fault);
        let records = self.records.values();
        records.filter(|record| record.outcome == faults).count()
    }

    /// Counted anew.
    pub fn living_by_refusal(&self) -> usize {
        let records = self.records.values();
        records.filter(|r| r.lives_by_refusal()).count()
    }

    /// When half of the records that live by a refusal had last been touched; none without any.
    pub fn median_refusal(&self) -> Option<Revision> {
        let living = self.records.values().filter(|r| r.lives_by_refusal());
        let mut touched: Vec<Revision> = living.map(|record| record.at_rev).collect();
        touched.sort_unstable();
        touched.get(touched.len().checked_sub(1)? / 2).copied()
    }

    /// The last operation of this user's client that was applied: its sequence and revision.
    pub fn acked(&self, user: &UserId, client: ClientId) -> Option<(Seq, Revision)> {
        let record = self.records.get(&(client, user.clone()))?;
        record.last_applied.map(|last| (last.seq, last.rev))
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Appends the stored form: see `stored.rs`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.records.len() as u64);
        for ((client, user), record) in &self.records {
            out.extend_from_slice(&client.0);
            put_blob(out, user.as_bytes());
            put_varint(out, record.seq.0);
            out.extend_from_slice(&record.payload.0);
            let (kind, number) = match record.outcome {
                Recorded::Applied(rev) => (APPLIED, rev.0),
                Recorded::Refused(code) => (REFUSED, code as u64),
            };
            out.push(kind);
            put_varint(out, number);
            out.push(record.last_applied.is_some().into());
            if let Some(LastApplied { seq, rev }) = record.last_applied {
                put_varint(out, seq.0);
                put_varint(out, rev.0);
            }
            out.push(record.skipped_to.is_some().into());
            if let Some(seq) = record.skipped_to {
                put_varint(out, seq.0);
            }
            put_varint(out, record.at_rev.0);
        }
    }

    /// Reads the records of a document whose window begins at `floor` and whose head is `head`.
    pub fn decode(
        input: &mut Input<'_>,
        floor: Revision,
        head: Revision,
    ) -> Result<Self, StateError> {
        let mut records = BTreeMap::new();
        for _ in 0..input.varint("clients")? {
            let client = ClientId(input.array("client")?);
            let key: Key = (client, input.text("user")?.into());
            if records
                .last_key_value()
                .is_some_and(|(last, _)| *last >= key)
            {
                return Err(StateError::Invalid("order of clients"));
            }
            let record = Record::decode(input)?;
            let applied_at = record.last_applied.map_or(Revision(0), |last| last.rev);
            if !(floor..=head).contains(&record.at_rev) || applied_at > record.at_rev {
                return Err(StateError::Invalid("record of a client"));
            }
            records.insert(key, record);
        }
        let mut clients = Self {
            records,
            by_refusal: 0,
        };
        clients.by_refusal = clients.living_by_refusal();
        Ok(clients)
    }
}

/// How an outcome is stored.
const APPLIED: u8 = 1;
const REFUSED: u8 = 2;

impl Record {
    fn decode(input: &mut Input<'_>) -> Result<Self, StateError> {
        let seq = input.varint("seq")?;
        let payload = PayloadHash(input.array("payload")?);
        let kind = input.byte("outcome")?;
        let number = input.varint("outcome")?;
        let refused = || Code::from_number(u32::try_from(number).ok()?);
        let outcome = match kind {
            APPLIED => Some(Recorded::Applied(Revision(number))),
            REFUSED => refused().map(Recorded::Refused),
            _ => None,
        };
        let last_applied = match input.flag("applied")? {
            true => Some(LastApplied {
                seq: Seq(input.varint("seq")?),
                rev: Revision(input.varint("rev")?),
            }),
            false => None,
        };
        let skipped_to = match input.flag("skipped to")? {
            true => Some(Seq(input.varint("seq")?)),
            false => None,
        };
        Ok(Self {
            seq: Seq(seq),
            payload,
            outcome: outcome.ok_or(StateError::Invalid("outcome"))?,
            last_applied,
            skipped_to,
            at_rev: Revision(input.varint("at rev")?),
        })
    }
}
