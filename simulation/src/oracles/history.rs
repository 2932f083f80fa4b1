//! What was sent and what was applied, by document: what the oracles look things up in.
//!
//! Of what replicas report the first one to apply a revision is believed; that the others say
//! the same is for the oracles to see.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::{
    naive,
    record::{ClientSeen, Edit, Entry, Hash, Id, NodeSeen, Seen},
};

pub type Shared = Rc<RefCell<History>>;

#[derive(Default)]
pub struct History {
    pub docs: BTreeMap<Id, Doc>,
    /// By document and client.
    pub clients: BTreeMap<(Id, Id), Client>,
    /// The revision that the entry seen last was the first to tell of.
    pub fresh: Option<(Id, u64)>,
}

#[derive(Default)]
pub struct Doc {
    pub group: u32,
    /// That of revision 1 first.
    pub events: Vec<Event>,
    /// After the last of them; none when it could not be folded any more.
    pub content: Option<naive::Content>,
    /// By user: since which revision which role, oldest first.
    roles: BTreeMap<String, Vec<(u64, Option<String>)>>,
}

pub struct Event {
    pub index: u64,
    pub kind: String,
    pub user: String,
    pub client: Option<Id>,
    pub seq: u64,
    /// Wall time, as its leader stamped it.
    pub ts_ms: u64,
    pub edit: Option<Rc<Vec<Edit>>>,
    /// The version that a restore made of the document.
    pub restores: Option<u64>,
    pub chain: Hash,
    /// Of the content after it; none when it could not be folded.
    pub state: Option<State>,
    /// What of the client's attempts it is, once found.
    pub attempt: Option<Attempt>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub digest: Hash,
    /// BLAKE3 of the text.
    pub text: Hash,
    pub units: usize,
}

#[derive(Default)]
pub struct Client {
    pub user: u32,
    /// How often it was given the document anew.
    pub epoch: u32,
    pub seqs: BTreeMap<u64, Sequence>,
    /// The highest revision acknowledged to it, and the sequence.
    pub acked: Option<(u64, u64)>,
}

/// All that became of one sequence number.
#[derive(Default)]
pub struct Sequence {
    pub attempts: Vec<Attempt>,
    /// The revisions that it took.
    pub applied: Vec<u64>,
    /// The client was told so.
    pub acked: bool,
    pub refused: bool,
    pub handed_back: bool,
    pub refused_at: Option<RefusedAt>,
}

/// Where a replica last refused a sequence for good, and how many attempts there were when the
/// first replica did.
#[derive(Clone, Copy)]
pub struct RefusedAt {
    pub index: u64,
    pub attempts: usize,
}

/// Bytes that were sent; sent again unchanged they are the same attempt.
#[derive(Clone)]
pub struct Attempt {
    pub base: u64,
    pub bytes: Hash,
    pub sent: Rc<Vec<Edit>>,
    pub epoch: u32,
    /// The head when it was sent first.
    pub head: u64,
}

impl Sequence {
    /// In how many lives of the client's document this number was used.
    pub fn epochs(&self) -> usize {
        let mut epochs: Vec<u32> = self.attempts.iter().map(|attempt| attempt.epoch).collect();
        epochs.dedup();
        epochs.len()
    }

    pub fn is_answered(&self) -> bool {
        self.acked || self.refused || self.handed_back
    }
}

impl Event {
    /// Whether it is an edit to those who follow the document.
    pub fn is_edit(&self) -> bool {
        matches!(self.kind.as_str(), "edit" | "restore")
    }
}

impl Doc {
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn event(&self, rev: u64) -> Option<&Event> {
        self.events.get(usize::try_from(rev.checked_sub(1)?).ok()?)
    }

    pub fn role_at(&self, user: &str, rev: u64) -> Option<&str> {
        let since = self.roles.get(user)?.iter().rev();
        let (_, role) = since.into_iter().find(|(since, _)| *since <= rev)?;
        role.as_deref()
    }

    /// The roles that a user had from `from` to `to`, one after the other.
    pub fn roles<'a>(
        &'a self,
        user: &str,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Option<&'a str>> {
        let changes = self.roles.get(user).into_iter().flatten();
        let within = changes.filter(move |(since, _)| (from + 1..=to).contains(since));
        let first = self.role_at(user, from);
        [first]
            .into_iter()
            .chain(within.map(|(_, role)| role.as_deref()))
    }

    /// The revision that took away the role that a user had at `rev`, if there is none now.
    pub fn lost_since(&self, user: &str, rev: u64) -> Option<u64> {
        let (since, role) = self.roles.get(user)?.last()?;
        (role.is_none() && *since > rev).then_some(*since)
    }
}

pub fn can_edit(role: Option<&str>) -> bool {
    matches!(role, Some("owner" | "editor"))
}

/// A user's name, as the clients' tokens have it.
pub fn name_of(user: u32) -> String {
    format!("user-{user}")
}

pub fn hash(text: &str) -> Hash {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// What came of folding in an applied event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    Nothing,
    /// The first that is heard of this revision.
    Fresh,
    /// It leaves out revisions that nobody told of.
    Gap {
        head: u64,
    },
    /// The first that is heard of it, and it does not fit what was before it.
    Unfit(naive::Unfit),
}

impl History {
    pub fn see(&mut self, entry: &Entry) -> Folded {
        self.fresh = None;
        match &entry.seen {
            Seen::Client(seen) => self.client(seen),
            Seen::Node(NodeSeen::Applied { .. }) => return self.applied(&entry.seen),
            Seen::Node(NodeSeen::Outcome {
                index,
                doc,
                client: Some(client),
                seq,
                outcome,
                ..
            }) => {
                // The last two are about other bytes than this client's of that number, and for
                // the first there is nowhere to put it.
                let recorded = outcome.starts_with("refused")
                    && !outcome.ends_with("not_found")
                    && !outcome.ends_with("seq_conflict")
                    && !outcome.ends_with("foreign_client");
                let of = self.clients.get_mut(&(*doc, *client));
                if let Some(of) = of.filter(|_| recorded) {
                    let sequence = of.seqs.entry(*seq).or_default();
                    let attempts = sequence.attempts.len();
                    if sequence.refused_at.is_none_or(|last| last.index < *index) {
                        let index = *index;
                        sequence.refused_at = Some(RefusedAt { index, attempts });
                    }
                }
            }
            _ => {}
        }
        Folded::Nothing
    }

    fn sequence(&mut self, doc: Id, client: Id, seq: u64) -> &mut Sequence {
        let of = self.clients.entry((doc, client)).or_default();
        of.seqs.entry(seq).or_default()
    }

    fn client(&mut self, seen: &ClientSeen) {
        match seen {
            ClientSeen::Invoke {
                client,
                user,
                doc,
                seq,
                base,
                sent,
                bytes,
            } => {
                let head = self.docs.get(doc).map_or(0, Doc::head);
                let of = self.clients.entry((*doc, *client)).or_default();
                of.user = *user;
                let epoch = of.epoch;
                let sequence = of.seqs.entry(*seq).or_default();
                sequence.attempts.push(Attempt {
                    base: *base,
                    bytes: *bytes,
                    sent: Rc::new(sent.clone()),
                    epoch,
                    head,
                });
            }
            ClientSeen::Acked {
                client,
                doc,
                seq,
                rev,
            } => {
                self.sequence(*doc, *client, *seq).acked = true;
                let of = self.clients.entry((*doc, *client)).or_default();
                if of.acked.is_none_or(|(_, before)| before < *rev) {
                    of.acked = Some((*seq, *rev));
                }
            }
            ClientSeen::Refused {
                client, doc, seq, ..
            } => self.sequence(*doc, *client, *seq).refused = true,
            ClientSeen::HandedBack {
                client, doc, seq, ..
            } => self.sequence(*doc, *client, *seq).handed_back = true,
            ClientSeen::Opened {
                client,
                user,
                doc,
                resumed,
                ..
            } => {
                let of = self.clients.entry((*doc, *client)).or_default();
                of.user = *user;
                of.epoch += u32::from(!resumed);
            }
            _ => {}
        }
    }

    fn applied(&mut self, seen: &Seen) -> Folded {
        let Seen::Node(NodeSeen::Applied {
            group,
            index,
            doc: id,
            rev,
            kind,
            user,
            client,
            seq,
            ts_ms,
            edit,
            restores,
            grant,
            chain,
            ..
        }) = seen
        else {
            return Folded::Nothing;
        };
        let doc = self.docs.entry(*id).or_default();
        let head = doc.head();
        if *rev <= head {
            return Folded::Nothing;
        }
        if *rev > head + 1 {
            return Folded::Gap { head };
        }
        doc.group = *group;
        let edit = edit.clone().map(Rc::new);
        let folded = match (&edit, kind.as_str()) {
            (Some(inserts), "create") => naive::Content::of(inserts).map(|new| {
                doc.content = Some(new);
                let owner = (*rev, Some("owner".to_owned()));
                doc.roles.entry(user.clone()).or_default().push(owner);
            }),
            (Some(edit), _) => match &mut doc.content {
                Some(content) => content.apply(edit),
                None => Ok(()),
            },
            (None, _) => Ok(()),
        };
        if folded.is_err() {
            doc.content = None;
        }
        if let Some((user, role)) = grant {
            let since = doc.roles.entry(user.clone()).or_default();
            since.push((*rev, role.clone()));
        }
        // Most events that are no edits leave the state as it was.
        let before = doc.events.last().and_then(|event| event.state);
        let state = match (&edit, &doc.content) {
            (_, None) => None,
            (None, Some(_)) => before,
            (Some(_), Some(content)) => Some(State {
                digest: content.digest(),
                text: hash(&content.text()),
                units: content.len(),
            }),
        };
        doc.events.push(Event {
            index: *index,
            kind: kind.clone(),
            user: user.clone(),
            client: *client,
            seq: *seq,
            ts_ms: *ts_ms,
            edit,
            restores: *restores,
            chain: *chain,
            state,
            attempt: None,
        });
        if let Some(client) = client {
            let of = self.clients.entry((*id, *client)).or_default();
            of.seqs.entry(*seq).or_default().applied.push(*rev);
        }
        self.fresh = Some((*id, *rev));
        folded.map_or_else(Folded::Unfit, |()| Folded::Fresh)
    }
}
