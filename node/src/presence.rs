//! Where people are in the documents of one group, at its leader: routers say it of their own, and
//! are told of everybody, once in a while and of each the latest. Nothing of it is in the log, and
//! another leader begins with nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use codraft_proto::{
    frame::{PRESENCE_BYTES_MAX, Presence, Selection},
    ids::{ClientId, DocId, Revision, UserId},
    outside::Clock,
    v1::{self, message::Body},
};
use codraft_tiers::presence::{Change, Person, Presences, Standing};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::routers::RouterLink;

/// What changed is told at most so often.
const EVERY: Duration = Duration::from_millis(100);
/// Who was not heard for too long is looked for so often.
const SWEEP: Duration = Duration::from_secs(1);

/// What a person is told to be, as their router says it.
type Said = (Person, Option<(Standing, u64)>);

pub(crate) struct PresenceHub {
    people: Box<dyn Presences>,
    state: Mutex<State>,
    arrived: Notify,
    clock: Arc<dyn Clock>,
    ttl_ms: u64,
}

#[derive(Default)]
struct State {
    /// By whose link somebody is here: what another one says of their end is an old story.
    of: BTreeMap<DocId, BTreeMap<Person, u64>>,
    readers: BTreeMap<DocId, BTreeMap<u64, Arc<RouterLink>>>,
    /// Readers that are to be told of everybody.
    behind: BTreeMap<DocId, BTreeSet<u64>>,
}

impl PresenceHub {
    pub fn new(people: Box<dyn Presences>, clock: Arc<dyn Clock>, ttl_ms: u64) -> Self {
        Self {
            people,
            state: Mutex::default(),
            arrived: Notify::new(),
            clock,
            ttl_ms,
        }
    }

    /// A router says where its people are; this node leads.
    ///
    /// # Errors
    /// What no router sends.
    pub fn take(
        &self,
        link: &Arc<RouterLink>,
        doc: DocId,
        said: v1::Presence,
    ) -> Result<(), &'static str> {
        let people = said.people.into_iter().map(said_of);
        let people = people.collect::<Option<Vec<Said>>>().ok_or("presence")?;
        // Its end has cleaned up, or will.
        if link.is_closed() {
            return Ok(());
        }
        let mut state = self.state.lock();
        if said.whole {
            state
                .readers
                .entry(doc)
                .or_default()
                .insert(link.id, link.clone());
            state.behind.entry(doc).or_default().insert(link.id);
            let named: BTreeSet<_> = people.iter().map(|(who, _)| who).collect();
            self.remove(&mut state, doc, link.id, |who| !named.contains(who));
        }
        let now_ms = self.clock.now_ms();
        for (who, standing) in people {
            let Some((standing, age_ms)) = standing else {
                self.remove(&mut state, doc, link.id, |other| *other == who);
                continue;
            };
            let last_seen_ms = now_ms.saturating_sub(age_ms);
            let standing = Standing {
                last_seen_ms,
                ..standing
            };
            match self.people.put(doc, &who, standing) {
                Ok(()) => {
                    state.of.entry(doc).or_default().insert(who, link.id);
                }
                Err(error) => tracing::debug!(%doc, %error, "somebody is not shown"),
            }
        }
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Those of a link's people in a document who are meant are gone.
    fn remove(&self, state: &mut State, doc: DocId, link: u64, is_meant: impl Fn(&Person) -> bool) {
        let Some(of) = state.of.get_mut(&doc) else {
            return;
        };
        of.retain(|who, by| {
            let goes = *by == link && is_meant(who);
            if goes {
                self.people.remove(doc, who);
            }
            !goes
        });
        if of.is_empty() {
            state.of.remove(&doc);
        }
    }

    /// A router has nobody in a document any more, and hears nothing of it.
    pub fn leave(&self, doc: DocId, link: u64) {
        let mut state = self.state.lock();
        self.remove(&mut state, doc, link, |_| true);
        if let Some(readers) = state.readers.get_mut(&doc) {
            readers.remove(&link);
            if readers.is_empty() {
                state.readers.remove(&doc);
            }
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// A link ended, and its people with it.
    pub fn remove_link(&self, link: u64) {
        let state = self.state.lock();
        let docs = state.of.keys().chain(state.readers.keys());
        let docs: BTreeSet<DocId> = docs.copied().collect();
        drop(state);
        docs.into_iter().for_each(|doc| self.leave(doc, link));
    }

    /// This node does not lead any more.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        *state = State::default();
        self.people.clear();
    }

    /// Everybody in a document.
    pub fn here(&self, doc: DocId) -> v1::Presences {
        let people = self.people.here(doc).into_iter();
        v1::Presences {
            doc: doc.to_bytes(),
            people: people.map(|(who, is)| told(&(who, Some(is)))).collect(),
            whole: true,
        }
    }

    fn sweep(&self) {
        let before_ms = self.clock.now_ms().saturating_sub(self.ttl_ms);
        self.people.expire(before_ms);
    }

    /// Tells routers what changed. A router that reads slowly is told of everybody later: presence
    /// waits behind all else. Returns whether one is.
    fn flush(&self) -> bool {
        let mut state = self.state.lock();
        let changes = self.people.changes();
        let behind = std::mem::take(&mut state.behind);
        let docs: BTreeSet<DocId> = changes.keys().chain(behind.keys()).copied().collect();
        for doc in docs {
            let changed = changes.get(&doc);
            let (mut whole, mut news) = (None, None);
            let State {
                readers,
                behind: later,
                ..
            } = &mut *state;
            for (id, link) in readers.get(&doc).into_iter().flatten() {
                let is_behind = behind.get(&doc).is_some_and(|links| links.contains(id));
                if link.is_full(0) {
                    later.entry(doc).or_default().insert(*id);
                } else if is_behind {
                    let whole = whole.get_or_insert_with(|| self.here(doc));
                    link.push(Body::Presences(whole.clone()));
                } else if let Some(changed) = changed {
                    let news = news.get_or_insert_with(|| v1::Presences {
                        doc: doc.to_bytes(),
                        people: changed.iter().map(told).collect(),
                        whole: false,
                    });
                    link.push(Body::Presences(news.clone()));
                }
            }
        }
        !state.behind.is_empty()
    }
}

/// Tells routers what changed, for as long as the node runs.
pub(crate) async fn serve(hub: Arc<PresenceHub>) {
    let mut swept = Instant::now();
    loop {
        // Either way it is looked at.
        let _ = tokio::time::timeout(SWEEP, hub.arrived.notified()).await;
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            hub.sweep();
        }
        if hub.flush() {
            hub.arrived.notify_one();
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What a router says of a person; `None` where it is not what a router says.
fn said_of(person: v1::Person) -> Option<Said> {
    let who = Person {
        client: ClientId::from_slice(&person.client)?,
        user: UserId::from(person.user),
    };
    let Some(is) = person.standing else {
        return Some((who, None));
    };
    if is
        .data
        .as_ref()
        .is_some_and(|d| d.len() > PRESENCE_BYTES_MAX)
    {
        return None;
    }
    let selection = is
        .selection
        .map(|v1::Span { anchor, head }| Selection { anchor, head });
    let standing = Standing {
        name: person.name.into(),
        rev: Revision(is.rev),
        presence: Presence {
            cursor: is.cursor,
            selection,
            data: is.data,
        },
        last_seen_ms: 0,
    };
    Some((who, Some((standing, is.age_ms))))
}

fn told((who, standing): &Change) -> v1::Person {
    let standing = standing.as_ref();
    v1::Person {
        client: who.client.to_bytes(),
        user: who.user.to_string(),
        name: standing.map_or_else(String::new, |is| is.name.to_string()),
        standing: standing.map(|is| v1::Standing {
            rev: is.rev.0,
            cursor: is.presence.cursor,
            selection: is
                .presence
                .selection
                .map(|Selection { anchor, head }| v1::Span { anchor, head }),
            data: is.presence.data.clone(),
            age_ms: 0,
            last_seen_ms: is.last_seen_ms,
        }),
    }
}
