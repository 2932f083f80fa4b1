//! The feed of one document, without a link, a lock or a clock: events go in, actions come
//! out. It knows where the feed comes from, what was delivered, who reads along, and when to
//! try again; the hub performs what it decides.
//!
//! A feed is cold until a first answer to an open starts it. It is live while its link brings
//! events that lead on from the position. When it breaks it is followed again from there,
//! wherever the leader is by then, so that readers notice nothing.

mod io;
mod readers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use codraft_mutant::mutant;
use codraft_proto::{
    event,
    frame::{At, DIVERGED},
    link::{CREDIT_WINDOW, event_cost},
    reject::Code,
};

use crate::ids::{LinkId, OpenTag, ReaderId};
use codraft_proto::ids::Revision;
pub use io::{Action, Event, FeedEvent, Followed, Hello, Message, Opened, Position, Start};

/// Delivered bytes are credited to the node in steps of this.
pub const CREDIT_STEP: u64 = CREDIT_WINDOW / 4;
/// The pause before what failed is tried again; doubled each time, short again after a success.
pub const PAUSE_MIN_MS: u64 = 20;
pub const PAUSE_MAX_MS: u64 = 500;
/// A state is held for so long after it came.
pub const HOLD_MS: u64 = 2_000;
/// What a node has not answered for so long is asked again: every request may be repeated.
pub const STUCK_MS: u64 = 5_000;

/// Why a reader has to open again, unless its text is another one.
const BROKE: &str = "the feed cannot be continued";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is delivered: the first answer to an open starts the feed.
    Cold,
    /// Asked to be fed from the position on. `leader`: of one that is known to lead, so
    /// operations need not wait for the answer.
    Following {
        since_ms: u64,
        leader: bool,
    },
    Live,
}

#[derive(Debug)]
struct Reader {
    phase: ReaderPhase,
    hello: Hello,
    /// The revision of a held state that was no use to it.
    no_use: Option<u64>,
    /// Nothing that it or the router has reaches the head.
    needs_state: bool,
}

/// An open on its way.
#[derive(Debug)]
struct Opening {
    reader: ReaderId,
    since_ms: u64,
    held: Option<At>,
    bring: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderPhase {
    /// No leader has been asked yet.
    Waiting,
    Opening(OpenTag),
    Live,
    /// It was told to open again and has not done so yet.
    Resync,
}

pub struct Feed {
    phase: Phase,
    /// Where the feed comes from, or is asked for.
    link: Option<LinkId>,
    /// What all live readers have been sent; `None` until a first answer.
    position: Option<Position>,
    /// Boxed, as the hub's members are.
    readers: BTreeMap<ReaderId, Box<Reader>>,
    /// Those of them that wait to be opened, and how many are live.
    waiting: BTreeSet<ReaderId>,
    live: usize,
    /// What an `Opened` with this tag answers. A reader may have left: its answer still starts the
    /// feed.
    opening: BTreeMap<OpenTag, Box<Opening>>,
    /// The last open that is to bring the state.
    bringing: OpenTag,
    /// Where the state stands that the hub holds, and until when.
    held: Option<(At, u64)>,
    next_tag: u64,
    /// Bytes that were delivered and not yet credited.
    uncredited: u64,
    /// Since when readers wait for a lost feed, and whether they were told.
    lost_ms: Option<u64>,
    saving: bool,
    pause_ms: u64,
    retry_at_ms: Option<u64>,
}

/// What a feed decided, in order.
pub type Actions = VecDeque<Action>;

impl Feed {
    /// `first_tag`: above all tags of the feeds that this document had before.
    pub fn new(first_tag: u64) -> Self {
        Self {
            phase: Phase::Cold,
            link: None,
            position: None,
            readers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            live: 0,
            opening: BTreeMap::new(),
            bringing: OpenTag(0),
            held: None,
            next_tag: first_tag,
            uncredited: 0,
            lost_ms: None,
            saving: false,
            pause_ms: PAUSE_MIN_MS,
            retry_at_ms: None,
        }
    }

    pub fn position(&self) -> Option<Position> {
        self.position
    }

    pub fn is_saving(&self) -> bool {
        self.saving
    }

    /// Whether this reader was told to open again.
    pub fn awaits_hello(&self, reader: ReaderId) -> bool {
        let reader = self.readers.get(&reader);
        reader.is_some_and(|r| r.phase == ReaderPhase::Resync)
    }

    /// Whether `Event::Timer` has something to do.
    pub fn is_due(&self, now_ms: u64) -> bool {
        let is_past = |at_ms: u64| now_ms >= at_ms;
        self.retry_at_ms.is_some_and(is_past) || self.held.is_some_and(|held| is_past(held.1))
    }

    /// The link whose events are delivered, while they are.
    pub fn fed_by(&self) -> Option<LinkId> {
        self.link.filter(|_| self.phase == Phase::Live)
    }

    /// The link that takes operations now.
    pub fn takes_operations(&self) -> Option<LinkId> {
        match self.phase {
            Phase::Live | Phase::Following { leader: true, .. } => self.link,
            Phase::Cold | Phase::Following { leader: false, .. } => None,
        }
    }

    /// Takes an event in and appends what is to be done, in order. `now_ms` never falls.
    pub fn handle(&mut self, now_ms: u64, event: Event, out: &mut Actions) {
        let mut turn = Turn {
            feed: self,
            now_ms,
            out,
        };
        match event {
            Event::Joined {
                reader,
                hello,
                leader,
            } => turn.joined(reader, hello, leader),
            Event::Left { reader } => turn.feed.remove(reader),
            Event::Leader { link } => turn.leader(link),
            Event::LinkLost { link, leader } => turn.link_lost(link, leader),
            Event::LeaderSilent => {
                turn.lost();
                turn.saving(true);
            }
            Event::Opened { link, tag, answer } => turn.opened(link, tag, answer),
            Event::Followed { link, answer } => turn.followed(link, answer),
            Event::Events { link, events, hash } => turn.events(link, events, hash),
            Event::Cut { link, code } => turn.cut(link, code),
            Event::NotSent(message) => turn.not_sent(message),
            Event::OperationRetried => turn.retry_later(),
            Event::Unreadable { readers } => {
                // They start behind it.
                turn.release(|_| true);
                for reader in readers {
                    turn.resync(reader, BROKE);
                }
            }
            Event::Diverged { reader } => {
                // It starts from what the leader has, and from nothing that is held here.
                turn.release(|_| true);
                turn.resync(reader, DIVERGED);
            }
            Event::OperationApplied => turn.feed.pause_ms = PAUSE_MIN_MS,
            Event::Timer { leader, other } => turn.timer(leader, other),
            Event::Unstick { operations } => turn.unstick(operations),
            Event::Closed => turn.closed(),
        }
    }

    fn is_from(&self, link: LinkId) -> bool {
        self.link == Some(link)
    }

    fn is_opening(&self, reader: ReaderId, tag: OpenTag) -> bool {
        let reader = self.readers.get(&reader);
        reader.is_some_and(|r| r.phase == ReaderPhase::Opening(tag))
    }

    fn set_phase(&mut self, id: ReaderId, phase: ReaderPhase) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut reader.phase, phase);
        self.live += usize::from(phase == ReaderPhase::Live);
        self.live -= usize::from(before == ReaderPhase::Live);
        if phase == ReaderPhase::Waiting {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
    }

    fn remove(&mut self, id: ReaderId) {
        self.waiting.remove(&id);
        if let Some(reader) = self.readers.remove(&id) {
            self.live -= usize::from(reader.phase == ReaderPhase::Live);
        }
    }

    /// The revision that these events lead to from the position, those up to it left out;
    /// `None` when they leave a gap.
    fn reaches(&self, events: &[FeedEvent]) -> Option<Revision> {
        let position = self.position.map_or(Revision(0), |p| p.rev);
        events
            .iter()
            .try_fold(position, |rev, event| match event.rev {
                next if next <= position => Some(rev),
                next if next == rev + 1 => Some(next),
                next if next > rev && mutant!("feed_gap_let_through") => Some(next),
                next if next > rev && mutant!("state_and_subscription_in_two_steps") => Some(next),
                _ => None,
            })
    }
}

/// A feed while it takes one event in.
struct Turn<'a> {
    feed: &'a mut Feed,
    now_ms: u64,
    out: &'a mut Actions,
}

impl Turn<'_> {
    fn act(&mut self, action: Action) {
        self.out.push_back(action);
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.act(Action::Send { link, message });
    }

    // ---- The link --------------------------------------------------------------------------

    fn connect_if_cut_off(&mut self, leader: Option<LinkId>) {
        match leader {
            _ if self.feed.link.is_some() => {}
            Some(link) => self.connect(link, true),
            None => self.retry_later(),
        }
    }

    fn leader(&mut self, link: LinkId) {
        if !self.feed.is_from(link) {
            return self.connect(link, true);
        }
        match &mut self.feed.phase {
            Phase::Following {
                leader: leader @ false,
                ..
            } => {
                *leader = true;
                self.act(Action::SubmitAll);
            }
            // It fell silent and speaks again. Nobody may have waited for it, and yet who comes
            // next would be told that nothing is saved.
            Phase::Live if self.feed.lost_ms.is_some() || self.feed.saving => self.found(),
            _ => {}
        }
    }

    fn link_lost(&mut self, link: LinkId, leader: Option<LinkId>) {
        if self.feed.is_from(link) {
            self.disconnect();
            self.connect_if_cut_off(leader);
        }
    }

    fn disconnect(&mut self) {
        self.feed.link = None;
        self.lost();
        for (tag, opening) in std::mem::take(&mut self.feed.opening) {
            self.open_again(opening.reader, tag);
        }
        self.act(Action::Unsubmit);
    }

    /// From now on by this link.
    fn connect(&mut self, link: LinkId, leader: bool) {
        if let Some(old) = self.feed.link.filter(|old| *old != link) {
            self.send(old, Message::Unfollow);
            self.disconnect();
        }
        self.feed.link = Some(link);
        self.feed.uncredited = 0;
        match self.feed.position.filter(|_| self.feed.live > 0) {
            Some(position) => {
                self.follow(link, position, leader);
                if leader {
                    self.act(Action::SubmitAll);
                }
            }
            None => {
                self.feed.position = None;
                self.feed.phase = Phase::Cold;
                self.open_waiting();
            }
        }
    }

    fn follow(&mut self, link: LinkId, position: Position, leader: bool) {
        self.lost();
        let since_ms = self.now_ms;
        self.feed.phase = Phase::Following { since_ms, leader };
        let after = position.at();
        self.send(link, Message::Follow { after });
    }

    /// The feed has a gap, or ended: it is followed again from the position, on the same link.
    fn refollow(&mut self) {
        self.act(Action::Broke);
        match (self.feed.link, self.feed.position) {
            (Some(link), Some(position)) => self.follow(link, position, true),
            _ => self.feed.phase = Phase::Cold,
        }
    }

    // ---- What it brings --------------------------------------------------------------------

    fn followed(&mut self, link: LinkId, answer: Result<Followed, Code>) {
        if !self.feed.is_from(link) || !matches!(self.feed.phase, Phase::Following { .. }) {
            return;
        }
        let followed = match answer {
            Ok(followed) => followed,
            Err(code) => return self.not_fed(code),
        };
        let whole = followed.resumed && self.feed.reaches(&followed.events) == Some(followed.rev);
        let Some(hash) = followed.hash.filter(|_| whole) else {
            return self.resync_all();
        };
        self.feed.phase = Phase::Live;
        self.deliver(followed.events, hash);
        self.found();
        self.act(Action::SubmitAll);
        self.open_waiting();
    }

    fn events(&mut self, link: LinkId, events: Vec<FeedEvent>, hash: Option<[u8; 32]>) {
        if !self.feed.is_from(link) || self.feed.phase != Phase::Live {
            return;
        }
        let cost = |e: &FeedEvent| event_cost(e.body.len());
        self.feed.uncredited += events.iter().map(cost).sum::<u64>();
        match (self.feed.reaches(&events), hash) {
            (Some(_), Some(hash)) => self.deliver(events, hash),
            _ => self.refollow(),
        }
        if self.feed.uncredited >= CREDIT_STEP {
            let bytes = std::mem::take(&mut self.feed.uncredited);
            self.send(link, Message::Credit { bytes });
        }
    }

    /// What comes after the position; the caller has seen that it leads on without a gap.
    fn deliver(&mut self, mut events: Vec<FeedEvent>, hash: [u8; 32]) {
        let Some(before) = self.feed.position else {
            return;
        };
        // Repeats were delivered before the feed broke.
        events.retain(|event| event.rev > before.rev);
        let Some(last) = events.last() else { return };
        let latest = |ts_ms: u64, event: &FeedEvent| ts_ms.max(event.ts_ms);
        self.feed.position = Some(Position {
            rev: last.rev,
            hash,
            ts_ms: events.iter().fold(before.ts_ms, latest),
        });
        let is_gone = events.iter().any(|event| event.kind == event::DELETE);
        self.act(Action::Deliver { before, events });
        if is_gone {
            self.deleted();
        }
    }

    /// Who reads along is told so, behind the last event. Who waits to be let in asks once more, and
    /// hears from the node, to whom it may look as if the document had never been.
    fn deleted(&mut self) {
        let all = self.feed.readers.iter();
        let live = all.filter(|(_, reader)| reader.phase == ReaderPhase::Live);
        let live: Vec<_> = live.map(|(id, _)| *id).collect();
        for reader in live {
            self.feed.remove(reader);
            let code = Code::Deleted;
            self.act(Action::End { reader, code });
        }
        if let Some(link) = self.feed.link {
            self.send(link, Message::Unfollow);
        }
        // Behind that: what is answered to an open before it has no place in a feed that stands.
        for (tag, opening) in std::mem::take(&mut self.feed.opening) {
            self.open_again(opening.reader, tag);
        }
        self.found();
        self.feed.phase = Phase::Cold;
        self.release(|_| true);
        self.open_waiting();
    }

    fn cut(&mut self, link: LinkId, code: Code) {
        if !self.feed.is_from(link) || self.feed.phase != Phase::Live {
            return;
        }
        if code == Code::Busy {
            // Out of credit, which is ours to give: all of it is delivered by now.
            self.feed.uncredited = 0;
            return self.refollow();
        }
        self.not_fed(code);
    }

    fn not_fed(&mut self, code: Code) {
        if code == Code::Deleted {
            return self.deleted();
        }
        if is_elsewhere(code) {
            self.disconnect();
            return self.retry_later();
        }
        self.act(Action::EndAll { code });
        self.feed.phase = Phase::Cold;
        self.feed.position = None;
    }

    fn resync(&mut self, reader: ReaderId, reason: &'static str) {
        self.feed.set_phase(reader, ReaderPhase::Resync);
        self.act(Action::Resync { reader, reason });
    }

    /// What the readers have cannot be continued: each opens again, keeping its work.
    fn resync_all(&mut self) {
        self.act(Action::Broke);
        let all = self.feed.readers.iter();
        let live = all.filter(|(_, reader)| reader.phase == ReaderPhase::Live);
        let live: Vec<_> = live.map(|(id, _)| *id).collect();
        for reader in live {
            self.resync(reader, BROKE);
        }
        self.feed.phase = Phase::Cold;
        self.feed.position = None;
        self.open_waiting();
    }

    // ---- Losing and finding it, and trying again -------------------------------------------

    fn lost(&mut self) {
        if self.feed.lost_ms.is_none() && self.feed.live > 0 {
            self.feed.lost_ms = Some(self.now_ms);
            self.act(Action::Lost);
        }
    }

    fn found(&mut self) {
        self.feed.pause_ms = PAUSE_MIN_MS;
        if let Some(since_ms) = self.feed.lost_ms.take() {
            let gap_ms = Some(self.now_ms.saturating_sub(since_ms));
            self.act(Action::Found { gap_ms });
        }
        self.saving(false);
    }

    fn saving(&mut self, on: bool) {
        if std::mem::replace(&mut self.feed.saving, on) != on {
            self.act(Action::Saving { on });
        }
    }

    fn retry_later(&mut self) {
        if self.feed.retry_at_ms.is_none() {
            let at_ms = self.now_ms + self.feed.pause_ms;
            self.feed.retry_at_ms = Some(at_ms);
            self.act(Action::WakeAt { at_ms });
            self.feed.pause_ms = (self.feed.pause_ms * 2).min(PAUSE_MAX_MS);
        }
    }

    /// Tries again what had no answer or a wrong one.
    fn timer(&mut self, leader: Option<LinkId>, other: Option<LinkId>) {
        self.release_if_old();
        if self
            .feed
            .retry_at_ms
            .is_none_or(|at_ms| self.now_ms < at_ms)
        {
            return;
        }
        self.feed.retry_at_ms = None;
        let own = self.feed.link;
        let lost = own.is_none() || matches!(self.feed.phase, Phase::Following { .. });
        let any = match lost || self.feed.phase == Phase::Cold {
            true => other,
            false => own,
        };
        match leader.or(any) {
            None if self.feed.readers.is_empty() => {}
            None => self.retry_later(),
            Some(link) if lost || own != Some(link) => self.connect(link, leader.is_some()),
            Some(_) => {
                if self.feed.takes_operations().is_some() {
                    self.act(Action::SubmitAll);
                }
                self.open_waiting();
            }
        }
    }

    fn not_sent(&mut self, message: Message) {
        match message {
            Message::Open { tag, .. } => {
                if let Some(opening) = self.feed.opening.remove(&tag) {
                    self.open_again(opening.reader, tag);
                }
            }
            Message::Follow { .. } => self.feed.link = None,
            // The link is on its way out, or full: the node cuts the feed, which is mended.
            Message::Credit { bytes } => {
                self.feed.uncredited += bytes;
                return;
            }
            // A link that is gone feeds nobody.
            Message::Unfollow => return,
        }
        self.retry_later();
    }

    fn unstick(&mut self, operations: bool) {
        let now_ms = self.now_ms;
        let is_old = |since_ms: u64| now_ms >= since_ms + STUCK_MS;
        let mut stuck = operations;
        stuck |= match self.feed.phase {
            Phase::Following { since_ms, .. } => is_old(since_ms),
            _ => self.feed.link.is_none() && !self.feed.readers.is_empty(),
        };
        let old = self
            .feed
            .opening
            .extract_if(.., |_, opening| is_old(opening.since_ms));
        for (tag, opening) in old.collect::<Vec<_>>() {
            self.open_again(opening.reader, tag);
            stuck = true;
        }
        if stuck {
            self.retry_later();
        }
    }

    fn closed(&mut self) {
        if let Some(link) = self.feed.link.take() {
            self.send(link, Message::Unfollow);
        }
        if self.feed.lost_ms.take().is_some() {
            self.act(Action::Found { gap_ms: None });
        }
    }
}

/// Whether a refusal means that somebody else is to be asked, or the same one later.
fn is_elsewhere(code: Code) -> bool {
    code.may_retry() && !matches!(code, Code::Unproven | Code::BaseAhead)
}
