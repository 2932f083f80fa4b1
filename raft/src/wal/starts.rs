//! Older copies of a folder.
//!
//! A folder that was put back from a copy has forgotten votes and entries that others count on,
//! and nothing in it says so. So others remember. Each start of a node has a random name, which is
//! in its log, with where the log ended when it was opened, before anybody is told of it. What
//! acknowledges (replies of Raft, pulses) carries up to where the log is synced, and each peer
//! keeps the furthest such position with the start that told it. On connecting, a node names its
//! latest starts: the one that a peer remembers must be among them, and the log must have been at
//! least as long when the next one opened it.
//!
//! No crash is taken for an older copy. Only what was synced is told, and opening a log cuts
//! nothing below that: the end that is found is never before a position that was told. Positions
//! never fall, whatever is truncated, purged or torn. A start that died before its name was durable
//! told nobody; one that died before it reached a peer is among the latest, or, after very many, is
//! answered for by the length of the log alone. Two that went on from one copy differ in the name
//! of the start after it.
//!
//! What a peer remembers rides along with the batches of its own log and costs no sync. If it dies
//! too, it may have forgotten the last of it: what was told since its last batch, or within a
//! second where it is idle. A copy as young as that is believed if all who knew better died at once.

use codraft_proto::v1;

use super::record::Position;

/// Starts that a node can name.
pub const STARTS_MAX: usize = 16;

/// One process on a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Of all starts of this log, from 1 on.
    pub number: u64,
    /// Random.
    pub name: u64,
    /// Where the log ended when this process opened it.
    pub opened: Position,
}

/// How far a node's log is known to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub number: u64,
    pub name: u64,
    pub synced: Position,
}

impl Start {
    /// What is known of a node that shows this start and told nothing yet.
    pub fn standing(&self) -> Standing {
        Standing {
            number: self.number,
            name: self.name,
            synced: self.opened,
        }
    }

    pub(super) fn payload(&self) -> [u8; 24] {
        let mut payload = [0; 24];
        payload[..8].copy_from_slice(&self.name.to_le_bytes());
        payload[8..].copy_from_slice(&self.opened.to_bytes());
        payload
    }

    pub(super) fn from_payload(number: u64, payload: &[u8]) -> Option<Self> {
        let (name, opened) = payload.split_first_chunk()?;
        Some(Self {
            number,
            name: u64::from_le_bytes(*name),
            opened: Position::from_bytes(opened)?,
        })
    }
}

impl Standing {
    /// Whether this is what was known before `other`.
    pub fn is_before(&self, other: &Standing) -> bool {
        (self.number, self.synced) < (other.number, other.synced)
    }

    /// Whether the log of a node that names these starts, in order, can have been here.
    pub fn is_held_by(&self, starts: &[Start]) -> bool {
        match starts.iter().position(|start| start.number == self.number) {
            Some(i) => {
                let next = starts.get(i + 1);
                starts[i].name == self.name && next.is_none_or(|next| next.opened >= self.synced)
            }
            None => starts
                .first()
                .is_some_and(|oldest| oldest.number > self.number && oldest.opened >= self.synced),
        }
    }

    pub(super) fn payload(&self) -> [u8; 32] {
        let mut payload = [0; 32];
        payload[..8].copy_from_slice(&self.number.to_le_bytes());
        payload[8..16].copy_from_slice(&self.name.to_le_bytes());
        payload[16..].copy_from_slice(&self.synced.to_bytes());
        payload
    }

    pub(super) fn from_payload(payload: &[u8]) -> Option<Self> {
        let (number, rest) = payload.split_first_chunk()?;
        let (name, synced) = rest.split_first_chunk()?;
        Some(Self {
            number: u64::from_le_bytes(*number),
            name: u64::from_le_bytes(*name),
            synced: Position::from_bytes(synced)?,
        })
    }
}

impl From<Position> for v1::LogPosition {
    fn from(position: Position) -> Self {
        let Position { segment, offset } = position;
        Self { segment, offset }
    }
}

impl From<v1::LogPosition> for Position {
    fn from(position: v1::LogPosition) -> Self {
        let v1::LogPosition { segment, offset } = position;
        Self { segment, offset }
    }
}

impl From<&Start> for v1::Start {
    fn from(start: &Start) -> Self {
        Self {
            number: start.number,
            name: start.name,
            opened: Some(start.opened.into()),
        }
    }
}

impl From<&v1::Start> for Start {
    fn from(start: &v1::Start) -> Self {
        Self {
            number: start.number,
            name: start.name,
            opened: start.opened.unwrap_or_default().into(),
        }
    }
}

/// Adds a start to those that a node can name.
pub(super) fn push(starts: &mut Vec<Start>, start: Start) {
    starts.push(start);
    if starts.len() > STARTS_MAX {
        starts.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { segment: 1, offset }
    }

    fn start(number: u64, name: u64, opened: u64) -> Start {
        let opened = at(opened);
        Start {
            number,
            name,
            opened,
        }
    }

    fn known(number: u64, name: u64, synced: u64) -> Standing {
        let synced = at(synced);
        Standing {
            number,
            name,
            synced,
        }
    }

    #[test]
    fn a_log_that_went_on_is_believed_and_an_older_copy_is_not() {
        let starts = [start(5, 50, 100), start(6, 60, 200), start(7, 70, 200)];
        for (known, is_held, what) in [
            (known(7, 70, 900), true, "itself, however far it has come"),
            (known(6, 60, 200), true, "the start before this one"),
            (known(6, 60, 208), false, "it had come further than that"),
            (known(5, 50, 200), true, "it was not met for a while"),
            (known(5, 50, 208), false, "nor had it come so far then"),
            (known(8, 80, 200), false, "a start that is not known here"),
            (
                known(7, 71, 200),
                false,
                "another one that went on from a copy",
            ),
            (known(6, 61, 150), false, "and which restarted since"),
            (
                known(2, 20, 100),
                true,
                "so old that only the length is left",
            ),
            (known(2, 20, 108), false, "and it was longer"),
        ] {
            assert_eq!(known.is_held_by(&starts), is_held, "{what}");
        }
        assert!(!known(1, 10, 0).is_held_by(&[]), "who names no start");
    }

    #[test]
    fn the_forms_read_back() {
        let start = start(5, 50, 100);
        assert_eq!(Start::from_payload(5, &start.payload()), Some(start));
        assert_eq!(Start::from(&v1::Start::from(&start)), start);
        let known = known(6, 60, 200);
        assert_eq!(Standing::from_payload(&known.payload()), Some(known));
        assert_eq!(Standing::from_payload(&known.payload()[1..]), None);
    }
}
