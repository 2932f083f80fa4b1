//! Authors as small numbers, one table a document and router: an event on the wire names a
//! slot, and `who` says before it who that is.
//!
//! A client that is here keeps its slot. The numbers of the others are given to new authors in
//! time, the least recently used first: a fresh `who` goes before the first event, and what came
//! before it was read by the old one. So the table is as large as those who are here, and a bit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codraft_mutant::mutant;
use codraft_proto::ids::{ClientId, UserId};

/// Authors that are kept although they are not here.
const GONE_MAX: usize = 256;
/// A welcome names so many of those who are here; the others before their next event.
const INTRODUCED_MAX: usize = 256;

/// A tab, or a user whose change came by no tab.
pub struct Slot {
    pub client: Option<ClientId>,
    pub user: UserId,
    /// For people to read, where it says more than the user's id.
    pub name: Option<Arc<str>>,
    /// Sockets of this author.
    here: u32,
    /// When it was used last, by the table's own count; for those who are gone.
    used: u64,
    /// All who listened at this welcome were told.
    announced: Option<u64>,
}

#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    of: BTreeMap<Option<ClientId>, Vec<u32>>,
    here: BTreeSet<u32>,
    gone: BTreeSet<(u64, u32)>,
    uses: u64,
    /// Counts welcomes: whoever was introduced by one knows those who were here, and no others.
    welcomes: u64,
    /// The last welcome that could not name all who were here.
    crowded: u64,
}

impl Slots {
    /// A socket of this author is here from now on; its slot.
    pub fn enter(&mut self, client: ClientId, user: &str) -> u32 {
        let n = self.of(Some(client), user);
        // Clients that joined since it left have not heard of it.
        let known = self.is_announced(n);
        if let Some(slot) = self.slots.get_mut(n as usize) {
            slot.announced = slot.announced.filter(|_| known);
            slot.here += 1;
            self.gone.remove(&(slot.used, n));
            self.here.insert(n);
        }
        n
    }

    /// What its user is called; whoever knows them by another name hears of it.
    pub fn name(&mut self, n: u32, name: &str) {
        let Some(slot) = self.slots.get_mut(n as usize) else {
            return;
        };
        let name = Some(name).filter(|name| !name.is_empty() && **name != *slot.user);
        if slot.name.as_deref() != name {
            slot.name = name.map(Into::into);
            slot.announced = None;
        }
    }

    pub fn leave(&mut self, n: u32) {
        let known = self.is_announced(n);
        let Some(slot) = self.slots.get_mut(n as usize) else {
            return;
        };
        slot.here = slot.here.saturating_sub(1);
        if slot.here == 0 {
            self.uses += 1;
            slot.used = self.uses;
            slot.announced = known.then_some(self.welcomes);
            self.here.remove(&n);
            self.gone.insert((slot.used, n));
        }
    }

    /// The author's slot; a new one when they have none. Good until the next `trim`.
    pub fn of(&mut self, client: Option<ClientId>, user: &str) -> u32 {
        let client = client.filter(|_| !mutant!("authors_by_user_not_tab"));
        self.uses += 1;
        let of_client = self.of.entry(client).or_default();
        let known = of_client.iter().copied();
        let slots = &mut self.slots;
        let mut known = known.filter_map(|n| Some((n, slots.get(n as usize)?)));
        if let Some(n) = known.find_map(|(n, slot)| (*slot.user == *user).then_some(n)) {
            if let Some(slot) = slots.get_mut(n as usize).filter(|slot| slot.here == 0) {
                self.gone.remove(&(slot.used, n));
                slot.used = self.uses;
                self.gone.insert((slot.used, n));
            }
            return n;
        }
        let slot = Slot {
            client,
            user: user.into(),
            name: None,
            here: 0,
            used: self.uses,
            announced: None,
        };
        let n = match self.free.pop() {
            Some(n) => n,
            None => slots.len() as u32,
        };
        match slots.get_mut(n as usize) {
            Some(free) => *free = slot,
            None => slots.push(slot),
        }
        of_client.push(n);
        self.gone.insert((self.uses, n));
        n
    }

    fn is_announced(&self, n: u32) -> bool {
        let Some(slot) = self.slots.get(n as usize) else {
            return false;
        };
        slot.announced
            .is_some_and(|at| at == self.welcomes || (slot.here > 0 && at >= self.crowded))
    }

    /// The slot, when all who listen are to be told of it now.
    pub fn announce(&mut self, n: u32) -> Option<&Slot> {
        if self.is_announced(n) {
            return None;
        }
        let slot = self.slots.get_mut(n as usize)?;
        slot.announced = Some(self.welcomes);
        Some(slot)
    }

    /// The slots that one who joins now is told of: its own, the authors of what it missed, and
    /// those who are here. The others are announced again, to all, before their next event: a
    /// welcome does not grow with all who were ever here.
    pub fn introduce(&mut self, own: u32, missed: &BTreeSet<u32>) -> Vec<(u32, &Slot)> {
        let mut told = missed.clone();
        told.insert(own);
        told.extend(self.here.iter().take(INTRODUCED_MAX));
        let known: Vec<u32> = told
            .iter()
            .copied()
            .filter(|n| self.is_announced(*n))
            .collect();
        self.welcomes += 1;
        if self.here.len() > INTRODUCED_MAX {
            self.crowded = self.welcomes;
        }
        for n in known {
            if let Some(slot) = self.slots.get_mut(n as usize) {
                slot.announced = Some(self.welcomes);
            }
        }
        let slots = told.into_iter();
        slots
            .filter_map(|n| Some((n, self.slots.get(n as usize)?)))
            .collect()
    }

    /// Gives back the numbers of those who are gone for longest.
    pub fn trim(&mut self) {
        while self.gone.len() > GONE_MAX {
            let Some((_, n)) = self.gone.pop_first() else {
                return;
            };
            self.free.push(n);
            let Some(slot) = self.slots.get(n as usize) else {
                return;
            };
            if let Some(of_client) = self.of.get_mut(&slot.client) {
                of_client.retain(|other| *other != n);
                if of_client.is_empty() {
                    self.of.remove(&slot.client);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAB: ClientId = ClientId([1; 16]);

    fn told(slots: &mut Slots, own: u32, missed: &[u32]) -> Vec<u32> {
        let missed = missed.iter().copied().collect();
        let told = slots.introduce(own, &missed).into_iter();
        told.map(|(n, _)| n).collect()
    }

    #[test]
    fn an_author_keeps_the_slot_and_is_announced_once() {
        let mut slots = Slots::default();
        let (a, b) = (slots.of(Some(TAB), "ana"), slots.of(None, "ana"));
        assert_ne!(a, b);
        assert_eq!(slots.of(Some(TAB), "ana"), a);
        assert_eq!(slots.announce(a).map(|s| s.client), Some(Some(TAB)));
        assert!(slots.announce(a).is_none());
        slots.announce(b);
        let bo = slots.enter(ClientId([2; 16]), "bo");
        assert_eq!(told(&mut slots, bo, &[b]), [b, bo]);
        assert!(slots.announce(b).is_none());
        assert!(slots.announce(a).is_some(), "who joined does not know it");
    }

    #[test]
    fn the_same_client_id_of_two_users_is_two_authors() {
        let mut slots = Slots::default();
        let (ana, bo) = (slots.enter(TAB, "ana"), slots.enter(TAB, "bo"));
        assert_ne!(ana, bo);
        slots.leave(bo);
        assert_eq!(
            (slots.enter(TAB, "bo"), slots.of(Some(TAB), "ana")),
            (bo, ana)
        );
    }

    #[test]
    fn who_came_while_one_was_away_hears_of_them_again() {
        let mut slots = Slots::default();
        let ana = slots.enter(TAB, "ana");
        assert_eq!(told(&mut slots, ana, &[]), [ana]);
        assert!(slots.announce(ana).is_some());
        slots.leave(ana);
        assert_eq!(slots.enter(TAB, "ana"), ana);
        assert!(slots.announce(ana).is_none(), "nobody came");
        slots.leave(ana);
        let bo = slots.enter(ClientId([2; 16]), "bo");
        assert_eq!(told(&mut slots, bo, &[]), [bo]);
        slots.enter(TAB, "ana");
        assert!(slots.announce(ana).is_some());
    }

    #[test]
    fn tabs_without_end_take_no_more_than_their_place() {
        let mut slots = Slots::default();
        let stays = slots.enter(TAB, "ana");
        for n in 0..10 * GONE_MAX as u128 {
            let tab = slots.enter(ClientId(n.to_be_bytes()), "bo");
            slots.announce(tab);
            assert_eq!(told(&mut slots, tab, &[]).len(), 2);
            slots.leave(tab);
            slots.trim();
        }
        assert!(slots.slots.len() <= GONE_MAX + 2, "{}", slots.slots.len());
        assert_eq!(slots.of.len(), slots.slots.len() - slots.free.len());
        assert_eq!(slots.of(Some(TAB), "ana"), stays);
        // A number that was another's is announced anew.
        let new = slots.of(None, "cy");
        assert_eq!(slots.announce(new).map(|s| &*s.user), Some("cy"));
    }

    #[test]
    fn a_crowd_is_named_before_its_events() {
        let mut slots = Slots::default();
        let enter = |n: usize| ClientId((n as u128).to_be_bytes());
        let last = (0..=INTRODUCED_MAX)
            .map(|n| slots.enter(enter(n), "ana"))
            .last();
        let last = last.unwrap_or(0);
        assert!(slots.announce(last).is_some() && slots.announce(0).is_some());
        let bo = slots.enter(TAB, "bo");
        assert_eq!(told(&mut slots, bo, &[]).len(), INTRODUCED_MAX + 1);
        assert!(slots.announce(0).is_none());
        assert!(slots.announce(last).is_some(), "it was not named");
    }
}
