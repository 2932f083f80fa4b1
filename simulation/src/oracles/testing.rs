//! A correct history by hand, and ways to spoil it.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use super::Oracle;
use crate::{
    naive::{self, Content},
    plan::{Fault, FaultKind, Plan, VERSION, World},
    record::{ClientSeen, DriverSeen, Edit, Entry, Hash, Id, NodeSeen, Seen},
};

pub const DOC: Id = [9; 16];
pub const GROUP: u32 = 2;
/// Of users 1, 2 and 3.
pub const ADA: Id = [1; 16];
pub const BOB: Id = [2; 16];
pub const CAM: Id = [3; 16];
pub const WINDOW: u64 = 8;
pub const RETENTION_MS: u64 = 1_000;
const NODES: [u64; 3] = [1, 2, 3];
/// Who leads, and in which term.
const LEADER: u64 = 1;
const TERM: u64 = 1;

pub fn insert(text: &str) -> Edit {
    Edit::Insert(text.into(), Vec::new())
}

pub fn retain(units: u64) -> Edit {
    Edit::Retain(units, Vec::new())
}

pub fn delete(units: u64) -> Edit {
    Edit::Delete(units)
}

pub fn bytes_of(edits: &[Edit]) -> Hash {
    *blake3::hash(format!("{edits:?}").as_bytes()).as_bytes()
}

pub fn digest_of(text: &str) -> Hash {
    Content::of(&[insert(text)]).unwrap().digest()
}

/// One that has a bit of everything.
pub fn story() -> Story {
    let mut story = Story::new();
    let base = story.head();
    story.edit(ADA, 1, base, &[retain(3), insert("x")]);
    story.edit(BOB, 1, base, &[delete(2), retain(2), insert("\u{1f600}")]);
    story.open(ADA, Some(base + 1));
    story.edit(ADA, 2, base + 2, &[retain(1), insert("z")]);
    story
}

/// Signatures of all that the oracles find.
pub fn found_in(story: Story) -> Vec<String> {
    let mut oracles = super::all(&plan());
    let mut found = Vec::new();
    for entry in &story.entries {
        oracles
            .iter_mut()
            .for_each(|oracle| oracle.see(entry, &mut found));
    }
    let end = story.at;
    oracles
        .iter_mut()
        .for_each(|oracle| oracle.end(end, &mut found));
    found
        .into_iter()
        .map(|violation| violation.signature)
        .collect()
}

pub fn found_by(oracle: &mut dyn Oracle, story: Story) -> Vec<String> {
    let mut found = Vec::new();
    story
        .entries
        .iter()
        .for_each(|entry| oracle.see(entry, &mut found));
    oracle.end(story.at, &mut found);
    found
        .into_iter()
        .map(|violation| violation.signature)
        .collect()
}

#[track_caller]
pub fn assert_clean(story: Story) {
    let found = found_in(story);
    assert!(found.is_empty(), "{found:#?}");
}

#[track_caller]
pub fn assert_found(story: Story, signature: &str) {
    let found = found_in(story);
    assert!(
        found.iter().any(|one| one == signature),
        "{signature:?} is not in {found:#?}"
    );
}

fn plan() -> Plan {
    Plan {
        version: VERSION,
        seed: 1,
        scenario: None,
        mutant: None,
        world: World {
            nodes: 3,
            routers: 1,
            groups: 3,
            latency_ms: (1, 2),
            sync_us: (100, 200),
            window_events: WINDOW as u32,
            refusal_records: 4,
            tick_ms: 1,
            tail_commands: 100,
            round_bytes: 4 << 10,
            quiet_ms: 3_600_000,
            memory_kib: 64,
            unarchived_kib: 1 << 20,
            retention_ms: RETENTION_MS,
            socket_queue_bytes: 1 << 20,
            safety_ms: 1_000,
        },
        documents: Vec::new(),
        clients: Vec::new(),
        // Stories change leaders.
        faults: vec![Fault {
            at_ms: 0,
            seed: 0,
            kind: FaultKind::Drain {
                node: 1,
                for_ms: 100,
            },
        }],
    }
}

#[derive(Clone)]
struct State {
    chain: Hash,
    text: String,
    digest: Hash,
    edit: Option<Vec<Edit>>,
}

#[derive(Clone, Default)]
pub struct Story {
    pub entries: Vec<Entry>,
    at: Duration,
    pub lives: BTreeMap<u64, u64>,
    /// Term, leader and hash of each entry of the log.
    log: Vec<(u64, u64, Hash)>,
    votes: Vec<NodeSeen>,
    content: Content,
    /// After each revision.
    states: Vec<State>,
    applied: BTreeMap<Id, (u64, u64)>,
    /// Who is sent what is applied.
    streams: Vec<Id>,

    /// What is applied instead of what was sent, once.
    pub applied_as: Option<Vec<Edit>>,
    /// Wall time of the next events.
    pub ts_ms: u64,
    /// The version that the next events say they restore.
    pub restores: Option<u64>,
    /// What is applied does not fit.
    pub unfit: bool,
    /// Whose disks do not sync.
    pub unsynced: Vec<u64>,
    /// Who takes no part.
    pub silent: Option<u64>,
    /// Who makes another event of it.
    pub astray: Option<u64>,
    /// A disk that comes back has no votes on it.
    pub forget_vote: bool,
}

impl Story {
    pub fn empty() -> Self {
        Self {
            lives: NODES.map(|node| (node, 1)).into(),
            ..Self::default()
        }
    }

    /// A document "abcdef" of user 1, which 2 and 3 may edit; 1 and 2 have it open.
    pub fn new() -> Self {
        let mut story = Self::empty();
        for node in NODES {
            story.node(NodeSeen::Recovered {
                node,
                life: 1,
                damaged: false,
                cut: 0,
            });
        }
        story.commit_entry(0, 0);
        for voter in NODES {
            story.vote(voter, TERM, LEADER, false);
        }
        story.leads(LEADER, TERM);
        story.commit_nothing();
        story.event("create", "user-1", None, Some(vec![insert("abcdef")]), None);
        story.grant(2, Some("editor"));
        story.grant(3, Some("editor"));
        story.open(ADA, None);
        story.open(BOB, None);
        story
    }

    pub fn head(&self) -> u64 {
        self.states.len() as u64
    }

    /// The chain hash at a revision.
    pub fn chain_at(&self, rev: u64) -> Hash {
        self.states[rev as usize - 1].chain
    }

    pub fn next_index(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn wait(&mut self, ms: u64) {
        self.at += Duration::from_millis(ms);
    }

    fn see(&mut self, seen: Seen) {
        self.wait(1);
        self.entries.push(Entry { at: self.at, seen });
    }

    pub fn client(&mut self, seen: ClientSeen) {
        self.see(Seen::Client(seen));
    }

    pub fn node(&mut self, seen: NodeSeen) {
        self.see(Seen::Node(seen));
    }

    pub fn driver(&mut self, seen: DriverSeen) {
        self.see(Seen::Driver(seen));
    }

    pub fn vote(&mut self, node: u64, term: u64, candidate: u64, committed: bool) {
        let vote = NodeSeen::Voted {
            node,
            life: self.lives[&node],
            group: GROUP,
            term,
            candidate,
            committed,
        };
        self.votes.push(vote.clone());
        self.node(vote);
    }

    pub fn leads(&mut self, node: u64, term: u64) {
        self.node(NodeSeen::Leads {
            node,
            life: self.lives[&node],
            group: GROUP,
            term,
        });
    }

    pub fn append(&mut self, node: u64, index: u64, term: u64, leader: u64, bytes: &[u8]) {
        let hash = *blake3::hash(bytes).as_bytes();
        self.appended(node, index, term, leader, hash);
    }

    fn appended(&mut self, node: u64, index: u64, term: u64, leader: u64, hash: Hash) {
        let voters = if index == 0 {
            vec![NODES.to_vec()]
        } else {
            Vec::new()
        };
        self.node(NodeSeen::Appended {
            node,
            life: self.lives[&node],
            group: GROUP,
            index,
            term,
            leader,
            hash,
            voters,
        });
    }

    pub fn promotes(&mut self, node: u64, voter: u64) {
        let group = GROUP;
        self.node(NodeSeen::Promotes { node, group, voter });
    }

    pub fn synced(&mut self, node: u64, index: u64) {
        self.node(NodeSeen::Synced {
            node,
            life: self.lives[&node],
            group: GROUP,
            index,
        });
    }

    fn nodes(&self) -> Vec<u64> {
        NODES
            .into_iter()
            .filter(|node| self.silent != Some(*node))
            .collect()
    }

    /// An entry in all logs, synced and committed.
    fn commit_entry(&mut self, term: u64, leader: u64) -> u64 {
        let index = self.next_index();
        let hash = *blake3::hash(&index.to_le_bytes()).as_bytes();
        self.log.push((term, leader, hash));
        let nodes = self.nodes();
        for node in &nodes {
            self.appended(*node, index, term, leader, hash);
        }
        for node in &nodes {
            if !self.unsynced.contains(node) {
                self.synced(*node, index);
            }
        }
        for node in nodes {
            self.node(NodeSeen::Committed {
                node,
                life: self.lives[&node],
                group: GROUP,
                index,
            });
        }
        index
    }

    pub fn commit_nothing(&mut self) -> u64 {
        self.commit_entry(TERM, LEADER)
    }

    /// An event that is applied everywhere.
    pub fn event(
        &mut self,
        kind: &str,
        user: &str,
        client: Option<(Id, u64)>,
        edit: Option<Vec<Edit>>,
        grant: Option<(String, Option<String>)>,
    ) -> u64 {
        let index = self.commit_nothing();
        let rev = self.head() + 1;
        let before = self.states.last().map_or([0; 32], |state| state.chain);
        let chain = *blake3::hash(format!("{before:?} {edit:?} {grant:?}").as_bytes()).as_bytes();
        if let Some(edit) = edit.as_ref().filter(|_| !self.unfit) {
            self.content.apply(edit).unwrap();
        }
        self.states.push(State {
            chain,
            text: self.content.text(),
            digest: self.content.digest(),
            edit: edit.clone(),
        });
        for node in self.nodes() {
            self.node(NodeSeen::Applied {
                node,
                life: self.lives[&node],
                group: GROUP,
                index,
                doc: DOC,
                rev,
                kind: kind.into(),
                user: user.into(),
                client: client.map(|(client, _)| client),
                seq: client.map_or(0, |(_, seq)| seq),
                ts_ms: self.ts_ms,
                edit: edit.clone(),
                restores: self.restores,
                grant: grant.clone(),
                chain: if self.astray == Some(node) {
                    [7; 32]
                } else {
                    chain
                },
            });
        }
        if let Some((client, seq)) = client {
            self.applied.insert(client, (seq, rev));
        }
        rev
    }

    /// Nobody hears anything more.
    pub fn streams_end(&mut self) {
        self.streams.clear();
    }

    pub fn skip_revision(&mut self) {
        let last = self.states.last().unwrap().clone();
        self.states.push(last);
    }

    pub fn grant(&mut self, user: u32, role: Option<&str>) {
        let role = role.map(str::to_owned);
        let name = format!("user-{user}");
        self.client(ClientSeen::GrantAsked {
            by: 1,
            user,
            doc: DOC,
            role: role.clone(),
        });
        let rev = self.event("grant", "user-1", None, None, Some((name, role.clone())));
        if role.is_none() {
            self.streams.retain(|client| u32::from(client[0]) != user);
        }
        self.deliver(None);
        self.client(ClientSeen::Granted {
            by: 1,
            user,
            doc: DOC,
            role,
            rev,
        });
    }

    pub fn invoke(&mut self, client: Id, seq: u64, base: u64, sent: &[Edit]) {
        self.client(ClientSeen::Invoke {
            client,
            user: client[0].into(),
            doc: DOC,
            seq,
            base,
            sent: sent.to_vec(),
            bytes: bytes_of(sent),
        });
    }

    /// Applies what was sent, as it should be.
    pub fn commit(&mut self, client: Id, seq: u64, base: u64, sent: &[Edit]) -> u64 {
        let mut moved = naive::canonical(sent);
        for state in self.states.iter().skip(base as usize) {
            if let Some(earlier) = &state.edit {
                moved = naive::transform(earlier, &moved);
            }
        }
        let edit = self.applied_as.take().unwrap_or(moved);
        let user = format!("user-{}", client[0]);
        self.event("edit", &user, Some((client, seq)), Some(edit), None)
    }

    /// Applies once more what nobody sent again.
    pub fn apply_again(&mut self, client: Id, seq: u64, sent: &[Edit]) {
        let head = self.head();
        self.commit(client, seq, head, sent);
    }

    pub fn acked(&mut self, client: Id, seq: u64, rev: u64) {
        self.client(ClientSeen::Acked {
            client,
            doc: DOC,
            seq,
            rev,
        });
    }

    /// What was applied last goes to those who have it open.
    pub fn deliver(&mut self, author: Option<Id>) {
        let (rev, edit) = (self.head(), self.states.last().unwrap().edit.clone());
        for client in self.streams.clone() {
            self.client(ClientSeen::Received {
                client,
                doc: DOC,
                rev,
                author,
                edit: edit.clone(),
            });
        }
    }

    /// The whole road of an operation.
    pub fn edit(&mut self, client: Id, seq: u64, base: u64, sent: &[Edit]) {
        self.invoke(client, seq, base, sent);
        let rev = self.commit(client, seq, base, sent);
        self.deliver(Some(client));
        self.acked(client, seq, rev);
        if !self.unfit {
            let view = self.view(client, rev);
            self.client(view);
        }
    }

    pub fn view(&self, client: Id, rev: u64) -> ClientSeen {
        let state = &self.states[rev as usize - 1];
        ClientSeen::View {
            client,
            doc: DOC,
            rev,
            text: state.text.clone(),
            digest: state.digest,
        }
    }

    pub fn opened(&self, client: Id, rev: u64) -> ClientSeen {
        let state = &self.states[rev as usize - 1];
        ClientSeen::Opened {
            client,
            user: client[0].into(),
            doc: DOC,
            resumed: false,
            rev,
            head: rev,
            chain: state.chain,
            acked: self.applied.get(&client).copied(),
            text: Some(state.text.clone()),
        }
    }

    /// Opens the document anew, or resumes from a revision.
    pub fn open(&mut self, client: Id, resume: Option<u64>) {
        let mut opened = self.opened(client, resume.unwrap_or(self.head()));
        if let ClientSeen::Opened { resumed, text, .. } = &mut opened
            && resume.is_some()
        {
            (*resumed, *text) = (true, None);
        }
        self.client(opened);
        self.streams.retain(|other| *other != client);
        // Cam's stream is for tests to write.
        if client == CAM {
            return;
        }
        self.streams.push(client);
        for rev in resume.map_or(0..0, |from| from + 1..self.head() + 1) {
            self.client(ClientSeen::Received {
                client,
                doc: DOC,
                rev,
                author: None,
                edit: self.states[rev as usize - 1].edit.clone(),
            });
        }
    }

    pub fn settle(&mut self, client: Id) {
        let state = self.states.last().unwrap().clone();
        self.client(ClientSeen::Settled {
            client,
            doc: DOC,
            rev: self.head(),
            text: state.text,
            digest: state.digest,
        });
    }

    /// A node starts again, and finds its log up to before `end`.
    pub fn restart(&mut self, node: u64, life: u64, end: u64) {
        self.begin_restart(node, life);
        self.finish_restart(node, life, end);
    }

    /// It has read its votes and the first two entries.
    pub fn begin_restart(&mut self, node: u64, life: u64) {
        self.lives.insert(node, life);
        for vote in self.votes.clone() {
            let mut vote = vote;
            if let NodeSeen::Voted {
                node: of,
                life: of_life,
                ..
            } = &mut vote
                && *of == node
                && !self.forget_vote
            {
                *of_life = life;
                self.node(vote);
            }
        }
        self.read(node, 0, 2);
    }

    pub fn finish_restart(&mut self, node: u64, life: u64, end: u64) {
        self.read(node, 2, end);
        self.synced(node, end - 1);
        self.node(NodeSeen::Recovered {
            node,
            life,
            damaged: false,
            cut: 0,
        });
    }

    fn read(&mut self, node: u64, from: u64, to: u64) {
        for index in from..to {
            let (term, leader, hash) = self.log[index as usize];
            self.appended(node, index, term, leader, hash);
        }
    }
}
