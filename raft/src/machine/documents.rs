//! One document: what an edit does to it. Of other commands `changes.rs` and `lifecycle.rs` say.

mod changes;
mod lifecycle;
mod stored;

pub use stored::AtRest;

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_ot::{Chain, Content, Delta, Kind, Limits, OpError};
use codraft_proto::{
    event,
    ids::{ClientId, DocId, Revision, Role, Seq, UserId},
    reject::Code,
};

#[cfg(test)]
use super::mutants::POISON_AMID;
#[cfg(any(test, codraft_mutants))]
use super::mutants::{POISON, panic_on};
use super::{
    Comments, Effect, Event, Grant, MachineLimits, Moving, Outcome, Refusal, Versions, anchors,
    clients::{Clients, Full, PayloadHash, Recorded, Standing},
    digest::StateHash,
    event::{create_body, restore_body},
    grants::{Grants, check_user},
    window::{TooFar, Window},
};
use crate::command::{Algebra, Anchor, Anchored, Create, Edit, Restore};

/// The replicated state of one document. Clones are cheap: they share text, attributes, history
/// and roles.
#[derive(Debug, Clone)]
pub struct Document {
    id: DocId,
    kind: Kind,
    algebra: Algebra,
    title: Box<str>,
    creator: UserId,
    /// What a repeated create must equal.
    created_as: [u8; 32],
    created_ms: u64,
    /// Of the last event; no event is older than the one before it.
    updated_ms: u64,
    /// The last revision; the create event took 1.
    rev: Revision,
    /// The chain hash at `rev`.
    hash: Chain,
    content: Content,
    window: Window,
    /// The oldest base that is taken, where that is later than the window's floor.
    expired: Revision,
    clients: Clients,
    grants: Grants,
    comments: Comments,
    versions: Versions,
    /// When it was set apart; none while it takes edits.
    quarantined_ms: Option<u64>,
    /// When it was deleted; none while it is there.
    deleted_ms: Option<u64>,
    /// A change of more than one field has begun and not ended; not part of the stored form.
    changing: bool,
    /// Of its stored form, once somebody asked; not part of it.
    digest: OnceLock<[u8; 32]>,
}

/// An operation to be judged.
struct Attempt<'a> {
    edit: &'a Edit,
    payload: PayloadHash,
    /// What it is part of, where it makes an earlier version.
    restore: Option<&'a Restore>,
    /// What nobody may have touched since.
    anchors: &'a [Anchor],
}

/// What of an event is not the same for all events of a document.
struct Draft {
    client: Option<ClientId>,
    user: UserId,
    seq: Seq,
    base: Revision,
    kind: u8,
    body: Bytes,
    units_before: u32,
    /// Of an edit.
    components: u32,
}

impl Document {
    pub(super) fn create(
        create: &Create,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Result<(Self, Arc<Event>), Refusal> {
        check_user(&create.owner)?;
        check_title(&create.title, limits)?;
        let content = first_content(create, &limits.ot).map_err(refusal_of)?;
        #[cfg(any(test, codraft_mutants))]
        panic_on(POISON, create.initial.as_deref().unwrap_or_default());
        scratch.clear();
        if create
            .initial
            .as_ref()
            .is_some_and(|initial| !initial.is_empty())
        {
            content.encode(scratch);
        }
        let body = create_body(create.kind, create.algebra, &create.title, scratch);
        let mut document = Self {
            id: create.doc,
            kind: create.kind,
            algebra: create.algebra,
            title: create.title.clone(),
            creator: create.owner.clone(),
            created_as: created_as(create),
            created_ms: ts_ms,
            updated_ms: ts_ms,
            rev: Revision(0),
            hash: Chain::default(),
            content,
            window: Window::default(),
            expired: Revision(0),
            clients: Clients::default(),
            grants: Grants::of_owner(create.owner.clone(), Revision(1)),
            comments: Comments::default(),
            versions: Versions::default(),
            quarantined_ms: None,
            deleted_ms: None,
            changing: false,
            digest: OnceLock::new(),
        };
        let draft = Draft {
            client: None,
            user: create.owner.clone(),
            seq: Seq(0),
            base: Revision(0),
            kind: event::CREATE as u8,
            body,
            units_before: 0,
            components: 0,
        };
        let event = document.record(draft, ts_ms, limits, scratch);
        Ok((document, event))
    }

    /// A create for an id that exists: the repeat of what made it, or another document's.
    pub(super) fn create_again(&self, create: &Create) -> Outcome {
        match self.created_as == created_as(create) {
            true => Outcome::Already {
                seq: Seq(0),
                rev: Revision(1),
            },
            false => Outcome::Refused(Refusal::new(Code::Exists, "the document exists")),
        }
    }

    /// Judges an operation and applies it. The order of the questions is part of the
    /// protocol: what a repeat is answered must not depend on what happened in between.
    pub(super) fn edit(
        &mut self,
        edit: &Edit,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let attempt = Attempt {
            edit,
            payload: PayloadHash::of(edit.base, &edit.ops),
            restore: None,
            anchors: &[],
        };
        self.operate(&attempt, ts_ms, limits, scratch)
    }

    /// As an edit, unless what it is anchored at was touched since its base.
    pub(super) fn anchored(
        &mut self,
        anchored: &Anchored,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let edit = &anchored.edit;
        let attempt = Attempt {
            edit,
            payload: PayloadHash::of(edit.base, &edit.ops),
            restore: None,
            anchors: &anchored.anchors,
        };
        self.operate(&attempt, ts_ms, limits, scratch)
    }

    /// Makes of the head what the document was at a version.
    pub(super) fn restore(
        &mut self,
        restore: &Restore,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let attempt = Attempt {
            edit: &restore.edit,
            payload: PayloadHash::of_restore(restore.version),
            restore: Some(restore),
            anchors: &[],
        };
        self.operate(&attempt, ts_ms, limits, scratch)
    }

    fn operate(
        &mut self,
        attempt: &Attempt<'_>,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Effect {
        let Attempt {
            edit,
            payload,
            restore,
            anchors,
        } = *attempt;
        let delta = match self.decide(edit, payload, limits) {
            Ok(delta) => delta,
            Err(outcome) => return (outcome, None),
        };
        // It was made for another head: what came since would stay in.
        let is_late = restore.is_some() && edit.base != self.rev;
        if is_late && !mutant!("restore_on_another_head") {
            let (floor, head) = (self.oldest_base(), self.rev);
            return (Outcome::Rebase { floor, head }, None);
        }
        if let Err(refusal) = self.untouched(edit.base, anchors, limits) {
            return (self.refuse(edit, payload, refusal, limits), None);
        }
        let units_before = self.content.units();
        // On a copy, which shares all but what changes: a panic leaves the document as it was.
        let mut content = self.content.clone();
        if let Err(error) = content.apply(&delta, &limits.ot) {
            return (self.refuse(edit, payload, refusal_of(error), limits), None);
        }
        #[cfg(any(test, codraft_mutants))]
        panic_on(POISON, &edit.ops);
        scratch.clear();
        delta.encode(scratch);
        self.changing = true;
        #[cfg(test)]
        panic_on(POISON_AMID, &edit.ops);
        self.content = content;
        self.clients.applied(edit, payload, self.rev + 1);
        let (kind, body) = match restore {
            // A copy: a slice of the entry would keep all of the entry in memory.
            None => (event::EDIT, Bytes::copy_from_slice(scratch)),
            Some(restore) => {
                let body = restore_body(restore.version, &restore.authors, scratch);
                (event::RESTORE, body)
            }
        };
        let draft = Draft {
            client: Some(edit.client),
            user: edit.user.clone(),
            seq: edit.seq,
            base: edit.base,
            kind: kind as u8,
            body,
            units_before,
            components: delta.components().len() as u32,
        };
        let event = self.record(draft, ts_ms, limits, scratch);
        (Outcome::Applied { rev: event.rev }, Some(event))
    }

    /// All that comes before the content: the operation as it is to be applied, or the
    /// answer.
    fn decide(
        &mut self,
        edit: &Edit,
        payload: PayloadHash,
        limits: &MachineLimits,
    ) -> Result<Delta, Outcome> {
        let (head, floor) = (self.rev, self.oldest_base());
        let standing = self.clients.standing(edit, payload);
        if let Standing::Repeat(recorded) = standing {
            return Err(match recorded {
                Recorded::Applied(rev) => Outcome::Already { seq: edit.seq, rev },
                Recorded::Refused(code) => Outcome::Refused(Refusal::new(code, "refused before")),
            });
        }
        if self.quarantined_ms.is_some() && !mutant!("quarantined_document_takes_edits") {
            return Err(Outcome::Retry(Code::Quarantined));
        }
        // A base that does not exist yet has no final answer, whatever the record says:
        // records are dropped by the rule that a final answer's base lay at or below the
        // head of its time.
        if edit.base > head {
            return Err(Outcome::Retry(Code::BaseAhead));
        }
        let rebase = Outcome::Rebase { floor, head };
        match standing {
            Standing::Older(rev) => {
                let most = limits.refusal_records;
                return Err(match self.clients.settle(edit, false, head, most) {
                    Ok(()) => Outcome::Already { seq: edit.seq, rev },
                    Err(Full) => Outcome::Retry(Code::Busy),
                });
            }
            // A late copy of what was told to rebase, and was.
            Standing::OtherBytes if edit.base < floor => return Err(rebase),
            Standing::OtherBytes => {
                let message = "the sequence number was used for other bytes";
                return Err(self.settle(edit, Code::SeqConflict, message, limits));
            }
            Standing::Gap => {
                let message = "the sequence number skips one";
                return Err(self.settle(edit, Code::SeqGap, message, limits));
            }
            Standing::Next | Standing::Repeat(_) => {}
        }
        if edit.base < floor {
            return Err(rebase);
        }
        // No user of such a name can ever have a role, so this needs no record.
        check_user(&edit.user).map_err(Outcome::Refused)?;
        if let Err(refusal) = self.admits(edit) {
            return Err(self.refuse(edit, payload, refusal, limits));
        }
        let delta = match self.read(edit, limits) {
            Ok(delta) => delta,
            Err(error) => return Err(self.refuse(edit, payload, refusal_of(error), limits)),
        };
        if edit.base == head {
            return Ok(delta);
        }
        self.window
            .transform(edit.base, delta, limits.transform_effort)
            .map_err(|TooFar| rebase)
    }

    /// Whether its author may edit, and there is something to edit.
    fn admits(&self, edit: &Edit) -> Result<(), Refusal> {
        let may_edit = self.grants.role(&edit.user).is_some_and(Role::can_edit)
            || (mutant!("role_checked_at_join_only")
                && self.clients.acked(&edit.user, edit.client).is_some());
        match self.deleted_ms {
            _ if !may_edit => Err(Refusal::new(
                Code::Forbidden,
                "the role does not allow edits",
            )),
            Some(_) => Err(Refusal::new(Code::Deleted, "the document was deleted")),
            None => Ok(()),
        }
    }

    fn untouched(
        &self,
        base: Revision,
        anchors: &[Anchor],
        limits: &MachineLimits,
    ) -> Result<(), Refusal> {
        let later = self.window.events_after(base).into_iter().flatten();
        let operations = later.filter_map(|event| event.operation());
        anchors::untouched(anchors, operations, &limits.ot)
    }

    /// The operation, if it fits the document that its author saw.
    fn read(&self, edit: &Edit, limits: &MachineLimits) -> Result<Delta, OpError> {
        let delta = Delta::decode(&edit.ops, &limits.ot)?;
        let document = self
            .window
            .units_at(edit.base)
            .unwrap_or_else(|| self.content.units());
        let operation = delta.base_units();
        if operation > u64::from(document) {
            return Err(OpError::LengthMismatch {
                document,
                operation,
            });
        }
        Ok(delta)
    }

    /// A final refusal that is the outcome of this sequence from now on.
    fn refuse(
        &mut self,
        edit: &Edit,
        payload: PayloadHash,
        refusal: Refusal,
        limits: &MachineLimits,
    ) -> Outcome {
        let most = limits.refusal_records;
        if mutant!("refusal_not_recorded") {
            return Outcome::Refused(refusal);
        }
        match self
            .clients
            .refused(edit, payload, refusal.code, self.rev, most)
        {
            Ok(()) => Outcome::Refused(refusal),
            Err(Full) => Outcome::Retry(Code::Busy),
        }
    }

    /// A final refusal beside a record that stays as it is.
    fn settle(
        &mut self,
        edit: &Edit,
        code: Code,
        message: &'static str,
        limits: &MachineLimits,
    ) -> Outcome {
        let gap = code == Code::SeqGap;
        match self
            .clients
            .settle(edit, gap, self.rev, limits.refusal_records)
        {
            Ok(()) => Outcome::Refused(Refusal::new(code, message)),
            Err(Full) => Outcome::Retry(Code::Busy),
        }
    }

    /// Gives the event its revision, its time and its place in the chain.
    fn record(
        &mut self,
        draft: Draft,
        ts_ms: u64,
        limits: &MachineLimits,
        scratch: &mut Vec<u8>,
    ) -> Arc<Event> {
        self.rev += 1;
        self.updated_ms = self.updated_ms.max(ts_ms);
        if mutant!("wall_clock_in_apply") {
            #[allow(clippy::disallowed_methods)] // the bug itself
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH);
            self.updated_ms = since.map_or(self.updated_ms, |since| since.as_millis() as u64);
        }
        let mut event = Event {
            doc: self.id,
            rev: self.rev,
            client: draft.client,
            user: draft.user,
            seq: draft.seq,
            base: draft.base,
            ts_ms: self.updated_ms,
            kind: draft.kind,
            body: draft.body,
            hash: self.hash,
        };
        event.canonical(scratch);
        event.hash = self.hash.next(scratch);
        self.hash = event.hash;
        let event = Arc::new(event);
        let components = draft.components;
        let mut moving = Moving::default();
        let leaves = |event: &Event| moving.leave(event, &self.comments, &limits.ot);
        let (told, units) = (event.clone(), draft.units_before);
        if self.window.push(told, units, components, limits, leaves) {
            self.comments.leave(moving, self.window.floor());
            let floor = match mutant!("record_evicted_above_the_floor") {
                true => self.rev,
                false => self.window.floor(),
            };
            self.clients.evict_below(floor);
        }
        event
    }

    pub fn id(&self) -> DocId {
        self.id
    }
    pub fn kind(&self) -> Kind {
        self.kind
    }
    pub fn algebra(&self) -> Algebra {
        self.algebra
    }
    pub fn title(&self) -> &str {
        &self.title
    }
    /// Who created it if still an owner, else the first owner by name.
    pub fn owner(&self) -> &UserId {
        let is_owner = |role| role == Role::Owner;
        if self.grants.role(&self.creator).is_some_and(is_owner) {
            return &self.creator;
        }
        let first = self.grants.iter().find(|(_, grant)| is_owner(grant.role));
        first.map_or(&self.creator, |(user, _)| user)
    }
    /// The head: the revision of the last event.
    pub fn rev(&self) -> Revision {
        self.rev
    }
    /// The chain hash at the head.
    pub fn hash(&self) -> Chain {
        self.hash
    }
    /// The window of history holds the events after this revision.
    pub fn floor(&self) -> Revision {
        self.window.floor()
    }
    /// The oldest base that an operation may have.
    pub fn oldest_base(&self) -> Revision {
        self.window.floor().max(self.expired)
    }
    /// What to expire below so that half of the records that live by a refusal can go; one ahead
    /// of the head at most.
    pub fn expirable_below(&self) -> Revision {
        self.clients
            .median_refusal()
            .map_or(Revision(0), |at_rev| at_rev + 1)
    }
    /// None, too, once it is deleted.
    pub fn role(&self, user: &str) -> Option<Role> {
        self.grant_of(user).map(|grant| grant.role)
    }
    /// None, too, once it is deleted.
    pub fn grant_of(&self, user: &str) -> Option<Grant> {
        self.grants.of(user).filter(|_| self.deleted_ms.is_none())
    }
    pub(super) fn roles(&self) -> &Grants {
        &self.grants
    }
    /// In the order of the users' names.
    pub fn grants(&self) -> impl Iterator<Item = (&UserId, Grant)> {
        self.grants.iter()
    }
    pub fn comments(&self) -> &Comments {
        &self.comments
    }
    pub fn versions(&self) -> &Versions {
        &self.versions
    }
    pub fn content(&self) -> &Content {
        &self.content
    }
    /// The events after `rev`, in order; none if `rev` is below the floor or ahead of the
    /// head.
    pub fn events_after(
        &self,
        rev: Revision,
    ) -> Option<impl ExactSizeIterator<Item = &Arc<Event>> + Clone> {
        self.window.events_after(rev)
    }
    /// The chain hash at a revision from the floor to the head.
    pub fn hash_at(&self, rev: Revision) -> Option<Chain> {
        self.window.hash_at(rev)
    }
    /// Sequence and revision of the last operation of this user's client that was applied.
    pub fn acked(&self, user: &UserId, client: ClientId) -> Option<(Seq, Revision)> {
        self.clients.acked(user, client)
    }
    /// What it takes in memory where nobody shares it, in bytes: text, attributes and embeds,
    /// history, records and roles. Costs nothing to ask.
    pub fn heap_bytes(&self) -> u64 {
        const RECORD: usize = 192;
        const GRANT: usize = 128;
        let rest = size_of::<Self>()
            + self.title.len()
            + self.window.heap_bytes()
            + self.clients.len() * RECORD
            + self.grants.len() * GRANT
            + self.comments.heap_bytes()
            + self.versions.heap_bytes();
        self.content.heap_bytes() + rest as u64
    }
    /// Clients with a record.
    pub fn client_records(&self) -> usize {
        self.clients.len()
    }
    /// What is bounded: its name, how much there is, and the bound.
    pub fn fills(&self, limits: &MachineLimits) -> [(&'static str, usize, usize); 6] {
        [
            ("window", self.window.len(), limits.window_events),
            (
                "refusals",
                self.clients.living_by_refusal(),
                // What panicked is on the record whatever there is: each costs an operator's word.
                limits.refusal_records + self.clients.faults(),
            ),
            ("grants", self.grants.len(), limits.grants),
            ("threads", self.comments.len(), limits.threads),
            (
                "comments",
                self.comments.heap_bytes(),
                // What a deleted one leaves, and the name of who wrote the last, come on top.
                limits.comments_bytes + codraft_proto::ids::USER_BYTES_MAX,
            ),
            ("versions", self.versions.len(), limits.versions),
        ]
    }
    /// When it was set apart, in milliseconds since 1970; none while it takes edits.
    pub fn quarantined_ms(&self) -> Option<u64> {
        self.quarantined_ms
    }
    /// When it was deleted, in milliseconds since 1970; none while it is there.
    pub fn deleted_ms(&self) -> Option<u64> {
        self.deleted_ms
    }
    /// Time of the create event, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }
    /// Time of the last event, in milliseconds since 1970.
    pub fn updated_ms(&self) -> u64 {
        self.updated_ms
    }

    /// BLAKE3 over the stored form. Kept until the document changes.
    pub fn state_digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| {
            let mut stored = Vec::new();
            self.encode(&mut stored);
            *blake3::hash(&stored).as_bytes()
        })
    }

    /// Called before each change.
    pub(super) fn forget_digest(&mut self) {
        self.digest = OnceLock::new();
    }

    /// Called after each change.
    pub(super) fn changed(&mut self) {
        self.changing = false;
    }

    /// Whether a panic has left it between two states.
    pub(super) fn is_half_changed(&self) -> bool {
        self.changing
    }

    /// Sets it apart, or lets it go on.
    pub(super) fn set_quarantine(&mut self, since_ms: Option<u64>) -> Outcome {
        let rev = self.rev;
        if self.quarantined_ms.is_some() == since_ms.is_some() {
            return Outcome::Already { seq: Seq(0), rev };
        }
        self.quarantined_ms = since_ms;
        Outcome::Applied { rev }
    }

    /// A final refusal of the operation that panicked. It is on the record whatever the bound says:
    /// the same bytes would do the same again, and each costs a lift of the quarantine.
    pub(super) fn refuse_fault(&mut self, edit: &Edit, payload: PayloadHash) {
        if self.clients.standing(edit, payload) == Standing::Next {
            // Without a bound it cannot fail.
            let _ = self
                .clients
                .refused(edit, payload, Code::Fault, self.rev, usize::MAX);
        }
    }
}

fn check_title(title: &str, limits: &MachineLimits) -> Result<(), Refusal> {
    let most = limits.title_bytes;
    if title.len() > most {
        let message = format!("a title has at most {most} bytes");
        return Err(Refusal::new(Code::Malformed, message));
    }
    Ok(())
}

/// The document of revision 1.
fn first_content(create: &Create, limits: &Limits) -> Result<Content, OpError> {
    match &create.initial {
        Some(initial) if !initial.is_empty() => {
            Content::from_delta(create.kind, &Delta::decode(initial, limits)?, limits)
        }
        _ => Ok(Content::new(create.kind)),
    }
}

fn created_as(create: &Create) -> [u8; 32] {
    let mut hash = StateHash::new("codraft create 1");
    hash.number(create.kind as u64)
        .number(create.algebra as u64);
    hash.bytes(create.title.as_bytes())
        .bytes(create.owner.as_bytes());
    match &create.initial {
        None => hash.number(0),
        Some(initial) => hash.number(1).bytes(initial),
    };
    hash.finish()
}

fn refusal_of(error: OpError) -> Refusal {
    Refusal {
        code: Code::from(&error),
        message: Cow::Owned(error.to_string()),
    }
}
