//! How much of a node's disk events may take that are not archived yet. Where the archive cannot be
//! written the op log grows: what makes it grow is refused long before the disk is full, while there
//! is still room for all that is in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

use codraft_mutant::mutant;
use codraft_proto::ids::GroupId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{command::Command, tap};

/// In bytes of the op logs of all groups of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetOptions {
    /// From here on no document is made.
    pub documents_bytes: u64,
    /// From here on none is edited.
    pub edits_bytes: u64,
}

impl BudgetOptions {
    /// No new documents at `bytes` or a quarter of the disk, no edits at half as much again or two
    /// fifths of the disk, whichever is less.
    pub fn of(bytes: u64, disk_bytes: u64) -> Self {
        Self {
            documents_bytes: bytes.min(disk_bytes / 4),
            edits_bytes: bytes.saturating_add(bytes / 2).min(disk_bytes / 5 * 2),
        }
    }
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self::of(codraft_proto::limits::UNARCHIVED_BYTES, u64::MAX)
    }
}

/// What is refused.
#[derive(Debug, Clone, Copy)]
enum Level {
    Nothing,
    Documents,
    Edits,
}

/// A node's budget, and what of it is used.
pub struct Budget {
    options: BudgetOptions,
    /// By group.
    used: Mutex<BTreeMap<GroupId, u64>>,
    total: AtomicU64,
    /// A `Level`: each operation reads it.
    level: AtomicU8,
    /// Whose archive could not be written when it was last tried.
    failing: Mutex<BTreeSet<GroupId>>,
    /// Whether something is refused and the archive cannot be written: another node should lead. One that
    /// only archives more slowly than is typed is no worse than the others.
    stuck: watch::Sender<bool>,
}

impl Budget {
    pub fn new(options: BudgetOptions) -> Self {
        Self {
            options,
            used: Mutex::default(),
            total: AtomicU64::new(0),
            level: AtomicU8::new(Level::Nothing as u8),
            failing: Mutex::default(),
            stuck: watch::Sender::new(false),
        }
    }

    /// What of a group's events waits, in bytes.
    pub fn waits(&self, group: GroupId, bytes: u64) {
        let mut used = self.used.lock();
        used.insert(group, bytes);
        let total: u64 = used.values().sum();
        self.total.store(total, Relaxed);
        let level = match total {
            total if total >= self.options.edits_bytes => Level::Edits,
            total if total >= self.options.documents_bytes => Level::Documents,
            _ => Level::Nothing,
        };
        if self.level.swap(level as u8, Relaxed) != level as u8 {
            say(level, total);
        }
        drop(used);
        if !self.failing.lock().is_empty() {
            let most = self
                .options
                .edits_bytes
                .saturating_add(self.options.edits_bytes / 2);
            tap::filled("what waits for the archive", total as usize, most as usize);
        }
        self.look();
    }

    /// Whether a group's archive could be written.
    pub fn tried(&self, group: GroupId, is_written: bool) {
        let changed = match is_written {
            true => self.failing.lock().remove(&group),
            false => self.failing.lock().insert(group),
        };
        if changed {
            self.look();
        }
    }

    fn look(&self) {
        let is_full = self.level.load(Relaxed) != Level::Nothing as u8;
        let is_stuck = is_full && !self.failing.lock().is_empty();
        self.stuck
            .send_if_modified(|was| std::mem::replace(was, is_stuck) != is_stuck);
    }

    /// Whether another node should lead, whenever that changes.
    pub fn stuck(&self) -> watch::Receiver<bool> {
        self.stuck.subscribe()
    }

    /// What waits of all groups, and from where on edits are refused; in bytes.
    pub fn used(&self) -> (u64, u64) {
        (self.total.load(Relaxed), self.options.edits_bytes)
    }

    /// Whether there is no room for what comes of a command. Roles change all the same.
    pub fn refuses(&self, command: &Command) -> bool {
        let level = self.level.load(Relaxed);
        if level > Level::Nothing as u8 && mutant!("budget_ignored") {
            return false;
        }
        match command {
            Command::Create(_) => level >= Level::Documents as u8,
            Command::Edit(_)
            | Command::Restore(_)
            | Command::Anchored(_)
            | Command::Checkpoint(_)
            | Command::Title(_)
            | Command::Comment(_)
            | Command::Version(_) => level >= Level::Edits as u8,
            Command::Grant(_)
            | Command::Delete(_)
            | Command::Undelete(_)
            | Command::Trim(_)
            | Command::Expire(_)
            | Command::Level(_)
            | Command::Quarantine(_) => false,
        }
    }
}

fn say(level: Level, bytes: u64) {
    let what = match level {
        Level::Nothing => return tracing::info!(bytes, "events are archived again"),
        Level::Documents => "no new documents",
        Level::Edits => "no new documents and no edits",
    };
    tracing::error!(
        bytes,
        "too many events are not archived: {what}, until they are; see why they cannot be"
    );
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use codraft_ot::Kind;
    use codraft_proto::ids::{DocId, Revision, Seq};

    use super::*;
    use crate::command::{Algebra, Create, Edit, Grant, Trim};

    fn grant() -> Command {
        Command::Grant(Grant {
            doc: DocId::default(),
            by: "a".into(),
            user: "b".into(),
            role: None,
        })
    }

    fn create() -> Command {
        Command::Create(Create {
            doc: DocId::default(),
            kind: Kind::Text,
            algebra: Algebra::Delta1,
            title: "".into(),
            owner: "a".into(),
            initial: None,
        })
    }

    fn edit() -> Command {
        Command::Edit(Edit {
            doc: DocId::default(),
            client: Default::default(),
            user: "a".into(),
            seq: Seq(1),
            base: Revision(1),
            ops: Bytes::new(),
        })
    }

    fn refused(budget: &Budget) -> [bool; 4] {
        let trim = Command::Trim(Trim {
            doc: DocId::default(),
            floor: Revision(1),
        });
        [create(), edit(), grant(), trim].map(|command| budget.refuses(&command))
    }

    #[test]
    fn what_is_not_archived_costs_new_documents_then_edits_and_no_role() {
        let budget = Budget::new(BudgetOptions::of(100, u64::MAX));
        budget.waits(GroupId(0), 60);
        budget.waits(GroupId(1), 39);
        assert_eq!(refused(&budget), [false; 4]);
        budget.waits(GroupId(1), 40);
        assert_eq!(refused(&budget), [true, false, false, false]);
        budget.waits(GroupId(0), 110);
        assert_eq!(refused(&budget), [true, true, false, false]);
        budget.waits(GroupId(1), 0);
        budget.waits(GroupId(0), 99);
        assert_eq!(refused(&budget), [false; 4]);
    }

    #[test]
    fn another_node_should_lead_where_the_archive_cannot_be_written_and_nowhere_else() {
        let budget = Budget::new(BudgetOptions::of(100, u64::MAX));
        let stuck = budget.stuck();
        budget.waits(GroupId(0), 100);
        assert!(!*stuck.borrow(), "it is slow, as the others are");
        budget.tried(GroupId(1), false);
        assert!(*stuck.borrow());
        budget.waits(GroupId(0), 99);
        assert!(!*stuck.borrow());
        budget.waits(GroupId(0), 100);
        budget.tried(GroupId(0), true);
        assert!(*stuck.borrow());
        budget.tried(GroupId(1), true);
        assert!(!*stuck.borrow());
    }

    #[test]
    fn a_small_disk_has_a_smaller_budget() {
        let of = |bytes, disk| {
            let BudgetOptions {
                documents_bytes,
                edits_bytes,
            } = BudgetOptions::of(bytes, disk);
            (documents_bytes, edits_bytes)
        };
        assert_eq!(of(8 << 30, 1 << 40), (8 << 30, 12 << 30));
        assert_eq!(of(8 << 30, 20 << 30), (5 << 30, 8 << 30));
        assert_eq!(of(u64::MAX, u64::MAX).1, u64::MAX / 5 * 2);
    }
}
