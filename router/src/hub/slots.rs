//! Authors as small numbers, one table a document and router: an event on the wire names a
//! slot, and `who` says once who that is.

use std::collections::BTreeMap;

use codraft_mutant::mutant;
use codraft_proto::ids::{ClientId, UserId};

/// Authors of one document that one router may know at a time.
const SLOTS_MAX: usize = 65_536;

/// A tab, or a user whose change came by no tab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Author {
    Client(ClientId),
    User(UserId),
}

pub struct Slot {
    pub client: Option<ClientId>,
    pub user: UserId,
    /// All who listen have been told.
    announced: bool,
}

#[derive(Default)]
pub struct Slots {
    of: BTreeMap<Author, u32>,
    slots: Vec<Slot>,
}

/// A table that is full starts anew; all who listen must then, too.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Slots {
    /// The author's slot; a new one when they have none.
    pub fn of(&mut self, client: Option<ClientId>, user: &str) -> Result<u32, Full> {
        let author = match client {
            Some(client) if !mutant!("authors_by_user_not_tab") => Author::Client(client),
            _ => Author::User(user.into()),
        };
        if let Some(slot) = self.of.get(&author) {
            return Ok(*slot);
        }
        if self.slots.len() >= SLOTS_MAX {
            return Err(Full);
        }
        let slot = self.slots.len() as u32;
        self.slots.push(Slot {
            client,
            user: user.into(),
            announced: false,
        });
        self.of.insert(author, slot);
        Ok(slot)
    }

    /// The slot, when all who listen are to be told of it now.
    pub fn announce(&mut self, slot: u32) -> Option<&Slot> {
        let slot = self.slots.get_mut(slot as usize)?;
        if std::mem::replace(&mut slot.announced, true) {
            None
        } else {
            Some(slot)
        }
    }

    /// The slots that one who joins now is told of. The others are announced again, to all,
    /// before their next event: a welcome does not grow with all who were ever here.
    pub fn introduce(&mut self, known: impl Fn(u32, &Slot) -> bool) -> Vec<(u32, &Slot)> {
        for (n, slot) in (0..).zip(&mut self.slots) {
            slot.announced &= known(n, slot);
        }
        (0..)
            .zip(&self.slots)
            .filter(|(n, slot)| known(*n, slot))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_author_keeps_the_slot_and_is_announced_once() {
        let mut slots = Slots::default();
        let a = slots.of(Some(ClientId([1; 16])), "ana").unwrap();
        let b = slots.of(None, "ana").unwrap();
        assert_ne!(a, b);
        assert_eq!(slots.of(Some(ClientId([1; 16])), "ana"), Ok(a));
        assert_eq!(
            slots.announce(a).map(|s| s.client),
            Some(Some(ClientId([1; 16])))
        );
        assert!(slots.announce(a).is_none());
        slots.announce(b);
        let told: Vec<u32> = slots
            .introduce(|n, _| n == b)
            .iter()
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(told, [b]);
        assert!(slots.announce(b).is_none());
        assert!(slots.announce(a).is_some(), "who joined does not know it");
    }

    #[test]
    fn the_table_has_an_end() {
        let mut slots = Slots::default();
        for n in 0..SLOTS_MAX {
            slots.of(None, &n.to_string()).unwrap();
        }
        assert_eq!(slots.of(None, "one more"), Err(Full));
    }
}
