//! O10, where history is kept for a time: how far it reaches back is what the rule says, of rounds that
//! were archived and of the times of their events. Nothing goes sooner, and what went is told by nobody.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use super::{Notes, Oracle, history::Shared, named, short};
use crate::{
    record::{ClientSeen, Entry, Hash, Id, NodeSeen, Run, Seen},
    verdict::Violation,
};

/// The rule (ARCHITECTURE.md, "Retention"): it is looked at when so many more rounds are there, and so
/// many go at once.
const EVERY: u64 = 8;
const AT_ONCE: usize = 64;
/// The head of an archive with nothing in it.
const NOTHING: Hash = [0; 32];

pub struct Retention {
    history: Shared,
    /// 0: history is kept for ever, and nothing is watched.
    retention_ms: u64,
    /// By group and head.
    archives: BTreeMap<(u32, Hash), Archive>,
    /// With which revision each document's history may begin, seen from any archive.
    oldest: BTreeMap<Id, BTreeSet<u64>>,
    /// By group and node: the archives that went with the states that it kept.
    marks: BTreeMap<(u32, u64), Vec<Mark>>,
    notes: Notes,
}

/// What an archive still has.
#[derive(Clone, Default)]
struct Archive {
    rounds: VecDeque<Rc<Round>>,
    /// Of the documents that had events in rounds which went: the last of these.
    oldest: BTreeMap<Id, u64>,
}

struct Round {
    newest_ms: u64,
    runs: Vec<Run>,
}

struct Mark {
    at: Duration,
    index: u64,
    head: Hash,
}

impl Retention {
    pub fn new(history: Shared, retention_ms: u64) -> Self {
        let promised = "history reaches back as far as it is kept for, by the times of its events";
        Self {
            history,
            retention_ms,
            archives: BTreeMap::new(),
            oldest: BTreeMap::new(),
            marks: BTreeMap::new(),
            notes: Notes::new("retention", "O10", promised),
        }
    }

    /// A round was archived, and with it what is too old may go.
    fn archived(&mut self, group: u32, rounds: u64, (before, head): (Hash, Hash), runs: &[Run]) {
        let known = self.archives.get(&(group, before)).cloned();
        let Some(mut archive) = known.or((before == NOTHING).then(Archive::default)) else {
            return;
        };
        let history = self.history.borrow();
        // Times do not fall in a document.
        let time = |run: &Run| Some(history.docs.get(&run.doc)?.event(run.last)?.ts_ms);
        let newest_ms = runs.iter().filter_map(time).max().unwrap_or(0);
        if (rounds - 1).is_multiple_of(EVERY) {
            let limit_ms = newest_ms.saturating_sub(self.retention_ms);
            let is_old = |round: &&Rc<Round>| round.newest_ms < limit_ms;
            let old = archive.rounds.iter().take(AT_ONCE).take_while(is_old);
            let count = old.count();
            for run in archive
                .rounds
                .drain(..count)
                .flat_map(|round| round.runs.clone())
            {
                archive.oldest.insert(run.doc, run.last);
                self.oldest.entry(run.doc).or_default().insert(run.last);
            }
        }
        let runs = runs.to_vec();
        archive.rounds.push_back(Rc::new(Round { newest_ms, runs }));
        self.archives.insert((group, head), archive);
    }

    /// A node has an archive up to a head, whatever becomes of its process, with its state at an entry.
    fn kept(&mut self, at: Duration, (group, node): (u32, u64), index: u64, head: Hash) {
        let marks = self.marks.entry((group, node)).or_default();
        marks.push(Mark { at, index, head });
    }

    /// Who applies what its state had begins without that state.
    fn applied(&mut self, at: Duration, place: (u32, u64), index: u64) {
        let marks = self.marks.entry(place).or_default();
        if marks.last().is_some_and(|mark| mark.index >= index) {
            self.kept(at, place, 0, NOTHING);
        }
    }

    /// The first revision of a document that some replica told of at a time.
    fn floor(&self, doc: &Id, asked: Duration) -> u64 {
        let history = self.history.borrow();
        let group = history.docs.get(doc).map_or(0, |doc| doc.group);
        let of_group = self.marks.range((group, 0)..=(group, u64::MAX));
        let floors = of_group.map(|(_, marks)| {
            let last = marks.iter().rev().find(|mark| mark.at <= asked);
            let archive = last.and_then(|mark| self.archives.get(&(group, mark.head)));
            let oldest = archive.and_then(|archive| archive.oldest.get(doc));
            oldest.copied().unwrap_or(0)
        });
        floors.min().unwrap_or(0)
    }

    /// What is wrong with a refusal that says where history begins.
    fn wrong(&self, doc: &Id, version: u64, oldest: u64) -> Option<&'static str> {
        let may_begin = self.oldest.get(doc).is_some_and(|of| of.contains(&oldest));
        if version >= oldest {
            return Some("a revision was called erased that is not older than the oldest one");
        }
        (!may_begin).then_some("history began elsewhere than what is kept does")
    }
}

impl Oracle for Retention {
    named!();

    fn see(&mut self, entry: &Entry, found: &mut Vec<Violation>) {
        if self.retention_ms == 0 {
            return;
        }
        match &entry.seen {
            Seen::Node(NodeSeen::Archived {
                group,
                rounds,
                before,
                head,
                runs,
                ..
            }) => self.archived(*group, *rounds, (*before, *head), runs),
            Seen::Node(
                NodeSeen::Kept {
                    node,
                    group,
                    index,
                    archived,
                    ..
                }
                | NodeSeen::Installed {
                    node,
                    group,
                    index,
                    archived,
                    ..
                },
            ) => self.kept(entry.at, (*group, *node), *index, *archived),
            Seen::Node(NodeSeen::Applied {
                node, group, index, ..
            }) => self.applied(entry.at, (*group, *node), *index),
            Seen::Client(ClientSeen::Told {
                doc,
                version,
                asked,
                ..
            }) => {
                let floor = self.floor(doc, *asked);
                if *version < floor {
                    let name = || format!("document {}, {version} of {floor}", short(doc));
                    let what = "a revision was told that no replica kept";
                    self.notes.broken(found, entry.at, what, name);
                }
            }
            Seen::Client(ClientSeen::Erased {
                doc,
                version,
                oldest,
                ..
            }) => {
                if let Some(what) = self.wrong(doc, *version, *oldest) {
                    let name = || format!("document {}, {version} of {oldest}", short(doc));
                    self.notes.broken(found, entry.at, what, name);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::testing::*, NOTHING};
    use crate::record::{ClientSeen, NodeSeen, Run};

    /// With this revision history begins.
    const OLDEST: u64 = 5;

    /// Nine rounds of an event each, of which five are older than history is kept when the last one is
    /// archived; all replicas keep what is left.
    fn story() -> Story {
        let mut story = Story::new();
        for seq in 1..=6 {
            let base = story.head();
            story.ts_ms = match base {
                0..OLDEST => 0,
                OLDEST..8 => 500,
                _ => RETENTION_MS + 1,
            };
            story.edit(ADA, seq, base, &[insert("x")]);
        }
        let mut before = NOTHING;
        for rounds in 1..=story.head() {
            let head = [rounds as u8; 32];
            let runs = vec![Run {
                doc: DOC,
                first: rounds,
                last: rounds,
                chain: story.chain_at(rounds),
            }];
            for node in 1..=3 {
                story.node(NodeSeen::Archived {
                    node,
                    group: GROUP,
                    rounds,
                    index: rounds,
                    before,
                    head,
                    runs: runs.clone(),
                });
            }
            before = head;
        }
        let index = story.next_index() - 1;
        for node in 1..=3 {
            story.node(NodeSeen::Kept {
                node,
                life: 1,
                group: GROUP,
                index,
                hash: [1; 32],
                archived: before,
                events: Vec::new(),
            });
        }
        story
    }

    fn erased(version: u64, oldest: u64) -> Story {
        let (mut story, user, doc) = (story(), 1, DOC);
        story.client(ClientSeen::Erased {
            user,
            doc,
            version,
            oldest,
        });
        story
    }

    fn told(version: u64, asked: Duration) -> Story {
        let mut story = story();
        let ClientSeen::View { text, digest, .. } = story.view(ADA, version) else {
            unreachable!()
        };
        story.client(ClientSeen::Told {
            user: 1,
            doc: DOC,
            version,
            authors: vec![(text.len() as u64, "user-1".into())],
            text,
            digest,
            asked,
        });
        story
    }

    const LATE: Duration = Duration::from_secs(3_600);

    #[test]
    fn history_begins_where_the_rule_says() {
        assert_clean(erased(OLDEST - 1, OLDEST));
        assert_clean(told(OLDEST, LATE));
    }

    #[test]
    fn who_asked_before_it_went_may_be_told() {
        assert_clean(told(OLDEST - 1, Duration::ZERO));
    }

    #[test]
    fn what_went_too_soon_is_found() {
        let signature = "O10 history began elsewhere than what is kept does";
        assert_found(erased(OLDEST - 1, OLDEST + 1), signature);
    }

    #[test]
    fn a_refusal_of_what_is_kept_is_found() {
        let signature = "O10 a revision was called erased that is not older than the oldest one";
        assert_found(erased(OLDEST, OLDEST), signature);
    }

    #[test]
    fn what_went_and_is_told_is_found() {
        let signature = "O10 a revision was told that no replica kept";
        assert_found(told(OLDEST - 1, LATE), signature);
    }
}
