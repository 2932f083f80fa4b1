//! Two replicas, any batching, the same state; and beside them a naive world that knows
//! nothing of windows, records or ropes: every event ever, folded over a vector of units.

use std::{collections::BTreeMap, sync::Arc};

use codraft_ot::{Chain, Component, Limits};
use codraft_proto::{
    event,
    ids::{Revision, Seq},
};
use proptest::prelude::*;

use super::*;
use crate::machine::Event;

const CLIENTS: u8 = 5;
/// The one client that does not keep to the rules; its user may edit.
const ROGUE: u8 = 4;
const USERS: [&str; 3] = [ADA, BOB, EVE];

/// One step of a random run; positions are taken modulo what is there.
#[derive(Debug, Clone)]
enum Step {
    /// A client's next operation, on a base this far behind the head.
    Insert {
        client: u8,
        lag: u64,
        at: u32,
        astral: bool,
    },
    Delete {
        client: u8,
        lag: u64,
        at: u32,
        units: u32,
    },
    /// Something sent before, once more.
    Again {
        which: usize,
    },
    /// The rogue's last sequence with other bytes, or a sequence that skips some.
    Odd {
        lag: u64,
        skip: u64,
    },
    Grant {
        user: usize,
        role: u32,
    },
    Title {
        user: usize,
        which: u8,
    },
    /// Somebody deletes the document, or brings it back.
    Deletion {
        user: usize,
        back: bool,
    },
    Trim {
        keep: u64,
    },
    /// Up to this far behind the revision after the head.
    Expire {
        behind: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let lag = prop_oneof![3 => 0u64..4, 1 => 0u64..14];
    prop_oneof![
        8 => (client.clone(), lag.clone(), any::<u32>(), any::<bool>())
            .prop_map(|(client, lag, at, astral)| Step::Insert { client, lag, at, astral }),
        4 => (client.clone(), lag.clone(), any::<u32>(), 1u32..4)
            .prop_map(|(client, lag, at, units)| Step::Delete { client, lag, at, units }),
        4 => any::<usize>().prop_map(|which| Step::Again { which }),
        1 => (lag, 0u64..3).prop_map(|(lag, skip)| Step::Odd { lag, skip }),
        1 => (1usize..3, 0u32..5).prop_map(|(user, role)| Step::Grant { user, role }),
        1 => (0usize..3, 0u8..3).prop_map(|(user, which)| Step::Title { user, which }),
        2 => (0usize..3, prop::bool::weighted(0.7))
            .prop_map(|(user, back)| Step::Deletion { user, back }),
        1 => (0u64..8).prop_map(|keep| Step::Trim { keep }),
        1 => (0u64..4).prop_map(|behind| Step::Expire { behind }),
    ]
}

/// What an honest client knows: it sends the next operation when the one before is
/// decided, on a base that holds all it had seen.
#[derive(Clone, Copy, Default)]
struct Author {
    seq: u64,
    undecided: bool,
    base: u64,
}

impl Author {
    fn next(&mut self, head: u64, lag: u64) -> (u64, u64) {
        if !self.undecided {
            self.seq += 1;
            self.undecided = true;
        }
        self.base = head.saturating_sub(lag).max(self.base).max(1);
        (self.seq, self.base)
    }

    fn hear(&mut self, edit: &Edit, outcome: &Outcome) {
        if edit.seq != Seq(self.seq)
            || matches!(outcome, Outcome::Rebase { .. } | Outcome::Retry(_))
        {
            return;
        }
        self.undecided = false;
        if let Outcome::Applied { rev } | Outcome::Already { rev, .. } = outcome {
            self.base = self.base.max(rev.0);
        }
    }
}

/// All that was ever sent and answered.
#[derive(Default)]
struct Naive {
    events: Vec<Arc<Event>>,
    /// The text at each revision, as UTF-16 units.
    texts: Vec<Vec<u16>>,
    roles: BTreeMap<String, Role>,
    is_deleted: bool,
    chain: Chain,
    sent: Vec<Command>,
    /// Final answers: whether it was applied.
    finals: BTreeMap<Vec<u8>, bool>,
    last_seq: BTreeMap<ClientId, u64>,
}

impl Naive {
    fn head(&self) -> u64 {
        self.events.len() as u64
    }

    fn text_at(&self, rev: u64) -> &[u16] {
        &self.texts[rev as usize]
    }

    /// A place that is not within a surrogate pair.
    fn place(&self, rev: u64, at: u32) -> u32 {
        let text = self.text_at(rev);
        let at = at as usize % (text.len() + 1);
        let inside = text
            .get(at)
            .is_some_and(|unit| (0xdc00..0xe000).contains(unit));
        (at - usize::from(inside)) as u32
    }

    fn see(&mut self, command: &Command, applied: &Applied) {
        if let Command::Edit(edit) = command {
            let key = Batch {
                ts_ms: 0,
                commands: vec![command.clone()],
            }
            .encode()
            .to_vec();
            let before = self.finals.get(&key).copied();
            match &applied.outcome {
                // O4, O16: once at most, and never after a final answer.
                Outcome::Applied { .. } => {
                    assert_eq!(before, None, "{edit:?}");
                    self.finals.insert(key, true);
                }
                Outcome::Refused(_) => {
                    // The rogue may start a record anew below what it once had applied.
                    assert!(before != Some(true) || edit.client == id(ROGUE), "{edit:?}");
                    self.finals.insert(key, false);
                }
                Outcome::Already { .. } | Outcome::Rebase { .. } | Outcome::Retry(_) => {}
            }
        }
        let Some(event) = &applied.event else { return };
        // O7, and the chain.
        assert_eq!(event.rev, Revision(self.head() + 1));
        assert_eq!(applied.outcome, Outcome::Applied { rev: event.rev });
        let mut canonical = Vec::new();
        event.canonical(&mut canonical);
        self.chain = self.chain.next(&canonical);
        assert_eq!(event.hash, self.chain);
        let mut text = self.texts.last().cloned().unwrap_or_default();
        let is_kept_up = [event::EXPIRE, event::UNDELETE].contains(&event.kind.into());
        assert!(is_kept_up || !self.is_deleted, "it is not there: {event:?}");
        match u32::from(event.kind) {
            event::EDIT => {
                // O12: a fold of the grants allows it.
                assert!(
                    self.roles
                        .get(&*event.user)
                        .is_some_and(|role| role.can_edit())
                );
                // O5, promised to clients that count.
                let last = self.last_seq.insert(event.client.unwrap(), event.seq.0);
                let rogue = event.client == Some(id(ROGUE));
                assert!(rogue || last.is_none_or(|last| event.seq > Seq(last)));
                let Command::Edit(edit) = command else {
                    panic!("an edit")
                };
                assert_eq!(event.body, self.transformed(edit).to_bytes());
                assert_eq!(event.base, edit.base, "the vector clock outlives apply");
                text = apply(&text, &event.body);
            }
            event::GRANT => {
                let (user, role) = event::read_grant(&event.body).unwrap();
                match role {
                    Some(role) => self.roles.insert(user.to_owned(), role),
                    None => self.roles.remove(user),
                };
            }
            event::TITLE => {
                let role = self.roles.get(&*event.user);
                assert!(role.is_some_and(|role| role.can_edit()));
            }
            event::DELETE | event::UNDELETE => {
                assert_eq!(self.roles.get(&*event.user), Some(&Role::Owner));
                self.is_deleted = u32::from(event.kind) == event::DELETE;
            }
            event::EXPIRE => {}
            _ => {
                self.texts.push(Vec::new());
                self.roles.insert(event.user.to_string(), Role::Owner);
            }
        }
        self.texts.push(text);
        self.events.push(event.clone());
    }

    /// The operation past everything after its base, from the whole history.
    fn transformed(&self, edit: &Edit) -> Delta {
        let limits = Limits::default();
        let later = &self.events[edit.base.0 as usize..];
        let later = later
            .iter()
            .filter(|event| u32::from(event.kind) == event::EDIT);
        later.fold(
            Delta::decode(&edit.ops, &limits).unwrap(),
            |delta, event| {
                Delta::decode(&event.body, &limits)
                    .unwrap()
                    .transform(&delta, true)
            },
        )
    }
}

fn apply(text: &[u16], body: &[u8]) -> Vec<u16> {
    let mut left = text.iter().copied();
    let mut out = Vec::new();
    for component in Delta::decode(body, &Limits::default())
        .unwrap()
        .components()
    {
        match component {
            Component::Retain { units, .. } => out.extend(left.by_ref().take(*units as usize)),
            Component::Delete { units } => {
                assert_eq!(left.by_ref().take(*units as usize).count(), *units as usize);
            }
            Component::Insert { text, .. } => out.extend(text.encode_utf16()),
            Component::Embed { .. } => panic!("no embeds in a plain text"),
        }
    }
    out.extend(left);
    out
}

/// A replica fed with stored batches.
struct Replica {
    shard: Shard,
    index: u64,
    waiting: Vec<Command>,
}

impl Replica {
    fn new() -> Self {
        let limits = MachineLimits {
            window_events: 12,
            refusal_records: 1,
            transform_effort: 60,
            ..MachineLimits::default()
        };
        Self {
            shard: Shard::new(GroupId(0), limits),
            index: 0,
            waiting: Vec::new(),
        }
    }

    fn flush(&mut self) -> Vec<Applied> {
        self.index += 1;
        let commands = std::mem::take(&mut self.waiting);
        let stored = Batch {
            ts_ms: 1_000,
            commands,
        }
        .encode();
        self.shard
            .apply(self.index, &Batch::decode(&stored).unwrap())
    }
}

/// What `step` sends now.
fn command_of(
    naive: &Naive,
    step: Step,
    authors: &mut [Author],
    unique: &mut u32,
) -> Option<Command> {
    let head = naive.head();
    let user = |client: u8| USERS[client as usize % USERS.len()];
    let mut letter = |astral: bool| {
        *unique += 1;
        // Every inserted letter is another one, so twice would be seen.
        char::from_u32(if astral { 0x1_0000 } else { 0x4e00 } + *unique)
            .unwrap()
            .to_string()
    };
    Some(match step {
        Step::Insert {
            client,
            lag,
            at,
            astral,
        } => {
            let (seq, base) = authors[client as usize].next(head, lag);
            let delta = insert(naive.place(base, at), &letter(astral));
            edit(user(client), client, seq, base, &delta)
        }
        Step::Delete {
            client,
            lag,
            at,
            units,
        } => {
            let (seq, base) = authors[client as usize].next(head, lag);
            let from = naive.place(base, at);
            let to = naive.place(base, (from + units).min(naive.text_at(base).len() as u32));
            if to <= from {
                return None;
            }
            edit(user(client), client, seq, base, &delete(from, to - from))
        }
        Step::Again { which } => naive.sent.get(which % naive.sent.len().max(1))?.clone(),
        Step::Odd { lag, skip } => {
            let seq = authors[ROGUE as usize].seq + skip * 2;
            let base = (head + 1).saturating_sub(lag).max(1);
            edit(user(ROGUE), ROGUE, seq, base, &insert(0, &letter(false)))
        }
        Step::Grant { user, role } => Command::Grant(command::Grant {
            doc: DOC,
            by: ADA.into(),
            user: USERS[user].into(),
            role: Role::from_number(role),
        }),
        Step::Title { user, which } => Command::Title(command::Title {
            doc: DOC,
            by: USERS[user].into(),
            title: format!("title {which}").into(),
        }),
        Step::Deletion { user, back } => {
            let (doc, by) = (DOC, USERS[user].into());
            let deletion = command::Deletion { doc, by };
            match back {
                true => Command::Undelete(deletion),
                false => Command::Delete(deletion),
            }
        }
        Step::Trim { keep } => Command::Trim(command::Trim {
            doc: DOC,
            floor: Revision(head.saturating_sub(keep)),
        }),
        Step::Expire { behind } => Command::Expire(command::Expire {
            doc: DOC,
            below: Revision((head + 1).saturating_sub(behind)),
        }),
    })
}

fn run(steps: Vec<(Step, bool)>) -> (Naive, [u64; 5]) {
    let (mut one, mut many) = (Replica::new(), Replica::new());
    let mut naive = Naive::default();
    let mut authors = [Author::default(); CLIENTS as usize];
    let mut unique = 0;
    let mut effects = Vec::new();
    let mut counts = [0; 5];
    let first = [
        create(Kind::Text, ADA),
        Command::Grant(command::Grant {
            doc: DOC,
            by: ADA.into(),
            user: BOB.into(),
            role: Some(Role::Editor),
        }),
    ];
    let mut feed = |naive: &mut Naive, command: Command, flush: bool| {
        one.waiting.push(command.clone());
        let applied = one.flush().pop().unwrap();
        naive.see(&command, &applied);
        counts[match applied.outcome {
            Outcome::Applied { .. } => 0,
            Outcome::Already { .. } => 1,
            Outcome::Refused(_) => 2,
            Outcome::Rebase { .. } => 3,
            Outcome::Retry(_) => 4,
        }] += 1;
        let document = one.shard.document(&DOC).present().unwrap();
        let text = String::from_utf16(naive.texts.last().unwrap()).unwrap();
        assert_eq!(document.content().text(), text);
        assert_eq!(
            (document.rev(), document.hash()),
            (Revision(naive.head()), naive.chain)
        );
        // O19: one for each event of the window and the floor, the rest bounded.
        assert!(document.client_records() <= 13 + 1);
        effects.push(applied.clone());
        many.waiting.push(command);
        if flush {
            // O15: however they were gathered, the same state and the same effects.
            let others = many.flush();
            assert_eq!(others.len(), effects.len());
            for (other, own) in others.into_iter().zip(effects.drain(..)) {
                assert_eq!((other.doc, &other.outcome), (own.doc, &own.outcome));
                assert_eq!(other.event, own.event);
            }
            assert_eq!(one.shard.digest(), many.shard.digest());
            // What was put away and taken back goes on the same.
            super::stored::reload(&mut many.shard);
        }
        applied
    };
    for command in first {
        feed(&mut naive, command, true);
    }
    for (step, flush) in steps {
        let Some(command) = command_of(&naive, step, &mut authors, &mut unique) else {
            continue;
        };
        naive.sent.push(command.clone());
        let applied = feed(&mut naive, command.clone(), flush);
        if let Command::Edit(edit) = command {
            authors[edit.client.0[0] as usize].hear(&edit, &applied.outcome);
        }
    }
    (naive, counts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn machine_replicas_agree_with_the_naive_world(
        steps in prop::collection::vec((step(), any::<bool>()), 1..120)
    ) {
        run(steps);
    }
}

/// A property run that did not meet its cases would prove nothing.
#[test]
fn machine_the_random_world_meets_every_outcome() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec((step(), any::<bool>()), 100..120);
    let mut total = [0u64; 5];
    for _ in 0..40 {
        let (_, counts) = run(strategy.new_tree(&mut runner).unwrap().current());
        total
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    assert!(total.iter().all(|count| *count > 20), "{total:?}");
}
