//! Where people are in the document. What the sockets say goes to its leader, of each the latest,
//! a few times a second; what the leader says of everybody goes to all sockets, behind the text and
//! where there is room. A router passes positions on and does not move them: they have a revision.
//!
//! Whoever says where they are is asked now and then whether there is still a page that runs: only
//! a page answers that, where a browser answers pings for one that it has frozen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use codraft_mutant::mutant;
use codraft_proto::{
    frame::{Encoding, Presence, Selection, ServerFrame, binary::Clock},
    ids::{ClientId, Revision, UserId},
    reject::Code,
    v1::{self, message::Body},
};

use super::{Hub, Member, State, deliver::who_frame};
use crate::{
    Shared,
    ids::{LinkId, ReaderId},
    queue::End,
    wire,
};

/// Silence is looked for so often.
const LOOK_MS: u64 = 1_000;
/// Whoever a new leader has not heard of is shown for so long still: their router may be late.
const DOUBT_MS: u64 = 3_000;

/// Where a socket's page said that it is.
pub(super) struct Own {
    rev: Revision,
    presence: Presence,
    /// When the page said this, or that it runs.
    heard_ms: u64,
    asked_ms: Option<u64>,
    /// It did not answer for too long, and is not here until it does.
    is_lost: bool,
}

/// Somebody, by any router, as the leader said last.
struct Shown {
    slot: u32,
    rev: Revision,
    last_seen_ms: u64,
    presence: Presence,
    /// A new leader knows nothing of them, until then.
    doubted_until_ms: Option<u64>,
}

#[derive(Default)]
pub(super) struct People {
    shown: BTreeMap<(UserId, ClientId), Shown>,
    /// The link whose node was told of all who are here, and tells of all others since.
    announced: Option<LinkId>,
    /// What the leader is to be told; empty where nothing is announced.
    changed: BTreeSet<ReaderId>,
    gone: Vec<(UserId, ClientId)>,
    said_ms: Option<u64>,
    due_ms: Option<u64>,
}

impl People {
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms.is_some_and(|due_ms| now_ms >= due_ms)
    }
}

impl Hub {
    // ---- From the sockets ------------------------------------------------------------------

    /// A client says where it is at a revision; none: it is gone.
    pub fn presence(
        &self,
        shared: &Shared,
        reader: ReaderId,
        rev: Revision,
        presence: Option<Presence>,
    ) {
        let mut state = self.state.lock();
        let head = state.feed.position().map_or(Revision(0), |at| at.rev);
        let Some(member) = state.members.get_mut(&reader) else {
            return;
        };
        // Who opens again says it again.
        if !member.listens || member.session.role.is_none() {
            return;
        }
        if rev > head {
            return member.queue.end(End {
                reason: "a position at a revision that nobody has",
                ..End::because(Code::BaseAhead)
            });
        }
        let before = member.presence.take();
        let Some(presence) = presence else {
            if before.is_some_and(|own| !own.is_lost) {
                self.gone(shared, &mut state, reader);
            }
            return;
        };
        member.presence = Some(Box::new(Own {
            rev,
            presence,
            heard_ms: shared.now_ms(),
            asked_ms: None,
            is_lost: false,
        }));
        self.say(shared, &mut state, reader);
    }

    /// A client's page runs.
    pub fn page_runs(&self, shared: &Shared, reader: ReaderId) {
        let mut state = self.state.lock();
        let member = state.members.get_mut(&reader);
        let Some(own) = member.and_then(|member| member.presence.as_mut()) else {
            return;
        };
        (own.heard_ms, own.asked_ms, own.is_lost) = (shared.now_ms(), None, false);
        self.say(shared, &mut state, reader);
    }

    /// A socket ends, and what it said of its page with it.
    pub(super) fn page_ended(&self, shared: &Shared, state: &mut State, reader: ReaderId) {
        let member = state.members.get_mut(&reader);
        let own = member.and_then(|member| member.presence.take());
        if own.is_some_and(|own| !own.is_lost) && !mutant!("presence_outlives_its_socket") {
            self.gone(shared, state, reader);
        }
    }

    /// The leader is told that somebody is gone.
    fn gone(&self, shared: &Shared, state: &mut State, reader: ReaderId) {
        let Some(member) = state.members.get(&reader) else {
            return;
        };
        let who = (member.session.user.clone(), member.session.client);
        state.people.changed.remove(&reader);
        if state.people.announced.is_some() {
            state.people.gone.push(who);
            self.tell_leader(shared, state);
        }
    }

    fn say(&self, shared: &Shared, state: &mut State, reader: ReaderId) {
        if state.people.announced.is_some() {
            state.people.changed.insert(reader);
            self.tell_leader(shared, state);
        }
    }

    /// Once a second: asks those who are silent, and gives up those who have not answered.
    pub(super) fn look_for_pages(&self, shared: &Shared, state: &mut State) {
        let (now_ms, ttl_ms) = (shared.now_ms(), shared.limits.presence_ttl_ms);
        let mut lost = Vec::new();
        for (reader, member) in &mut state.members {
            let Some(own) = member.presence.as_mut().filter(|own| !own.is_lost) else {
                continue;
            };
            let silent_ms = now_ms.saturating_sub(own.heard_ms);
            let asked_ms = own
                .asked_ms
                .map_or(ttl_ms, |at_ms| now_ms.saturating_sub(at_ms));
            if silent_ms + LOOK_MS > ttl_ms {
                own.is_lost = true;
                lost.push(*reader);
            } else if silent_ms >= ttl_ms / 3 && asked_ms >= ttl_ms / 3 {
                own.asked_ms = Some(now_ms);
                let question = wire::frame(member.encoding, &ServerFrame::Here);
                member.queue.push_if_room(question);
            }
        }
        for reader in lost {
            self.gone(shared, state, reader);
        }
        let is_over = |shown: &Shown| shown.doubted_until_ms.is_some_and(|at_ms| now_ms >= at_ms);
        let over = state
            .people
            .shown
            .iter()
            .filter(|(_, shown)| is_over(shown));
        let over: Vec<_> = over.map(|(who, _)| who.clone()).collect();
        let slots = over.iter().filter_map(|who| state.not_here(who)).collect();
        self.show(state, &slots);
    }

    // ---- To the leader ---------------------------------------------------------------------

    /// Tells who feeds this document now of all who are here, once.
    pub(super) fn announce(&self, shared: &Shared, state: &mut State) {
        let link = state.feed.fed_by();
        if link == state.people.announced {
            return;
        }
        state.people.announced = link;
        state.people.changed.clear();
        state.people.gone.clear();
        state.people.due_ms = None;
        let Some(link) = link else { return };
        if state.people.said_ms.is_some() && mutant!("presence_not_said_again") {
            return;
        }
        let now_ms = shared.now_ms();
        let here = state.members.values().map(|member| member.person(now_ms));
        let people = here.flatten().collect();
        self.send_presence(shared, state, link, people, true);
    }

    /// Tells the leader what changed, now or as soon as it is time.
    fn tell_leader(&self, shared: &Shared, state: &mut State) {
        let now_ms = shared.now_ms();
        let every_ms = 1_000 / u64::from(shared.limits.presence_per_second.max(1));
        let next_ms = state.people.said_ms.map_or(0, |at_ms| at_ms + every_ms);
        if now_ms >= next_ms {
            self.say_now(shared, state);
        } else if state.people.due_ms.is_none() {
            state.people.due_ms = Some(next_ms);
            shared.timers.add(next_ms, self.doc);
        }
    }

    pub(super) fn say_now(&self, shared: &Shared, state: &mut State) {
        state.people.due_ms = None;
        let Some(link) = state.people.announced else {
            return;
        };
        let now_ms = shared.now_ms();
        // First: who came back with another socket is among the others.
        let gone = std::mem::take(&mut state.people.gone);
        let gone = gone.into_iter().map(|(user, client)| v1::Person {
            client: client.to_bytes(),
            user: user.to_string(),
            ..v1::Person::default()
        });
        let mut people: Vec<_> = gone.collect();
        for reader in std::mem::take(&mut state.people.changed) {
            let member = state.members.get(&reader);
            people.extend(member.and_then(|member| member.person(now_ms)));
        }
        if !people.is_empty() {
            self.send_presence(shared, state, link, people, false);
        }
    }

    fn send_presence(
        &self,
        shared: &Shared,
        state: &mut State,
        link: LinkId,
        people: Vec<v1::Person>,
        whole: bool,
    ) {
        state.people.said_ms = Some(shared.now_ms());
        let said = Body::Presence(v1::Presence {
            doc: self.doc_bytes.clone(),
            people,
            whole,
        });
        let route = state.route_by(shared, link);
        if !route.is_some_and(|route| route.send(said)) {
            // All of it once more, with the feed's next event.
            state.people.announced = None;
        }
    }

    // ---- From the leader, to the sockets ---------------------------------------------------

    /// The leader says where people are.
    pub fn people(&self, shared: &Shared, link: LinkId, said: v1::Presences) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.people.announced != Some(link) {
            return;
        }
        if said.whole {
            let until_ms = shared.now_ms() + DOUBT_MS;
            for shown in state.people.shown.values_mut() {
                shown.doubted_until_ms = Some(until_ms);
            }
        }
        let mut slots = BTreeSet::new();
        for person in said.people {
            let Some(client) = ClientId::from_slice(&person.client) else {
                continue;
            };
            let who = (UserId::from(person.user), client);
            slots.extend(match person.standing {
                Some(standing) => Some(state.here(who, &person.name, standing)),
                None => state.not_here(&who),
            });
        }
        self.show(state, &slots);
    }

    /// Tells all who listen of these slots: encoded once, and later where a socket has much to read.
    fn show(&self, state: &mut State, slots: &BTreeSet<u32>) {
        if slots.is_empty() {
            return;
        }
        Self::name(state, slots);
        let by_slot = state.people.by_slot();
        let frames: Vec<_> = slots.iter().map(|slot| frame_of(&by_slot, *slot)).collect();
        let (mut binary, mut json): (Option<Bytes>, Option<Bytes>) = (None, None);
        for member in state.members.values_mut().filter(|m| m.listens) {
            let message = match member.encoding {
                Encoding::Binary => &mut binary,
                Encoding::Json => &mut json,
            };
            let message = message.get_or_insert_with(|| encoded(member.encoding, &frames));
            if !member.unseen.is_empty() || !member.queue.push_if_room(message.clone()) {
                member.unseen.extend(slots);
                member.show_unseen(&by_slot);
            }
        }
    }

    /// Tells a socket that was welcomed of all who are here.
    pub(super) fn show_all(&self, state: &mut State, reader: ReaderId) {
        let slots: BTreeSet<u32> = state.people.shown.values().map(|s| s.slot).collect();
        Self::name(state, &slots);
        let by_slot = state.people.by_slot();
        if let Some(member) = state.members.get_mut(&reader) {
            member.unseen = slots;
            member.show_unseen(&by_slot);
        }
    }

    /// Once a second: tells sockets what there was no room for.
    pub(super) fn show_late(&self, state: &mut State) {
        if state.members.values().all(|m| m.unseen.is_empty()) {
            return;
        }
        let by_slot = state.people.by_slot();
        for member in state.members.values_mut().filter(|m| m.listens) {
            member.show_unseen(&by_slot);
        }
    }

    /// Says who those slots are, to all who may not know it.
    fn name(state: &mut State, slots: &BTreeSet<u32>) {
        let here: BTreeSet<u32> = state.people.shown.values().map(|s| s.slot).collect();
        let mut frames = Vec::new();
        for slot in slots.intersection(&here) {
            let who = state.slots.announce(*slot);
            frames.extend(who.map(|who| ServerFrame::Who(who_frame(*slot, who))));
        }
        // In no encoding can such a frame not be said.
        Self::fan_out(state, Clock::default(), &frames);
    }
}

impl State {
    /// Somebody is here; their slot, which they keep until they are not.
    fn here(&mut self, who: (UserId, ClientId), name: &str, standing: v1::Standing) -> u32 {
        let slot = match self.people.shown.get(&who) {
            Some(shown) => shown.slot,
            None => self.slots.enter(who.1, &who.0),
        };
        self.slots.name(slot, name);
        let selection = standing.selection;
        let shown = Shown {
            slot,
            rev: Revision(standing.rev),
            last_seen_ms: standing.last_seen_ms,
            presence: Presence {
                cursor: standing.cursor,
                selection: selection.map(|v1::Span { anchor, head }| Selection { anchor, head }),
                data: standing.data,
            },
            doubted_until_ms: None,
        };
        self.people.shown.insert(who, shown);
        slot
    }

    fn not_here(&mut self, who: &(UserId, ClientId)) -> Option<u32> {
        let shown = self.people.shown.remove(who)?;
        self.slots.leave(shown.slot);
        Some(shown.slot)
    }
}

impl People {
    fn by_slot(&self) -> BTreeMap<u32, &Shown> {
        self.shown
            .values()
            .map(|shown| (shown.slot, shown))
            .collect()
    }
}

fn frame_of(by_slot: &BTreeMap<u32, &Shown>, slot: u32) -> ServerFrame {
    let shown = by_slot.get(&slot);
    ServerFrame::Presence {
        slot,
        rev: shown.map_or(Revision(0), |shown| shown.rev),
        last_seen_ms: shown.map_or(0, |shown| shown.last_seen_ms),
        presence: shown.map(|shown| shown.presence.clone()),
    }
}

fn encoded(encoding: Encoding, frames: &[ServerFrame]) -> Bytes {
    wire::frames(encoding, Clock::default(), frames).unwrap_or_default()
}

impl Member {
    /// As the leader is told of it, while it is here.
    fn person(&self, now_ms: u64) -> Option<v1::Person> {
        let own = self.presence.as_ref().filter(|own| !own.is_lost)?;
        let Presence {
            cursor,
            selection,
            data,
        } = own.presence.clone();
        Some(v1::Person {
            client: self.session.client_bytes.clone(),
            user: self.session.user.to_string(),
            name: self.name.to_string(),
            standing: Some(v1::Standing {
                rev: own.rev.0,
                cursor,
                selection: selection.map(|Selection { anchor, head }| v1::Span { anchor, head }),
                data,
                age_ms: now_ms.saturating_sub(own.heard_ms),
                last_seen_ms: 0,
            }),
        })
    }

    fn show_unseen(&mut self, by_slot: &BTreeMap<u32, &Shown>) {
        if self.unseen.is_empty() {
            return;
        }
        let slots = self.unseen.iter();
        let frames: Vec<_> = slots.map(|slot| frame_of(by_slot, *slot)).collect();
        if self.queue.push_if_room(encoded(self.encoding, &frames)) {
            self.unseen.clear();
        }
    }
}
