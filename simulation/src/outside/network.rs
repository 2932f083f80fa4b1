//! The network between hosts: what is cut, held, slow or lossy at the moment, and which streams
//! there are. turmoil carries the bytes; what it lacks is here.
//!
//! It never sends a lost segment again, so a stream that lost one would stand still for ever,
//! which no kernel does: [`Network::sweep`] resets such a stream a while after its link is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use super::Struck;
use parking_lot::Mutex;

/// How long bytes are missing on a whole link before the stream is reset.
const GIVE_UP: Duration = Duration::from_secs(2);

/// So much of a stream a client's kernel keeps that the client has not read. Little, as all is
/// here, so that one who does not read for a while is felt by its router.
const KEEPS: u64 = 2 << 10;

/// What has not arrived after so long was lost.
const MISSED: Duration = Duration::from_millis(400);

pub type Name = Arc<str>;

#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

struct State {
    struck: Struck,
    /// Machines without power: they do not even refuse.
    off: BTreeSet<Name>,
    listening: BTreeSet<Name>,
    links: BTreeMap<(Name, Name), Link>,
    streams: BTreeMap<SocketAddr, Arc<Mutex<Stream>>>,
}

/// What is wrong with a link, by the fault that made it so. The pair is ordered; `blocks[0]` is
/// from the first to the second.
#[derive(Default, Clone)]
pub struct Link {
    pub blocks: [BTreeSet<usize>; 2],
    pub holds: BTreeSet<usize>,
    pub delays: BTreeMap<usize, u64>,
    pub losses: BTreeMap<usize, u32>,
}

impl Link {
    fn is_whole(&self) -> bool {
        self.blocks.iter().all(BTreeSet::is_empty) && self.holds.is_empty()
    }
}

/// The ends are the dialler's (0) and the acceptor's (1).
pub struct Stream {
    pub hosts: [Option<Name>; 2],
    pub written: [u64; 2],
    pub read: [u64; 2],
    pub closed: [bool; 2],
    /// Something of it may have been lost.
    pub tainted: bool,
    pub broken: bool,
    pub wakers: [Option<Waker>; 2],
    /// Writers that have no room.
    pub blocked: Option<Waker>,
    stalled_since: Option<Duration>,
}

impl Stream {
    /// How much more an end may write. Nodes and routers read all the time.
    pub fn room(&self, end: usize) -> u64 {
        let reader = 1 - end;
        let is_client = |host: &Name| host.starts_with("client-");
        if self.closed[reader] || !self.hosts[reader].as_ref().is_some_and(is_client) {
            return u64::MAX;
        }
        (KEEPS + self.read[reader]).saturating_sub(self.written[end])
    }

    /// There may be room now, or nothing to wait for any more.
    pub fn unblock(&mut self) {
        if let Some(waker) = self.blocked.take() {
            waker.wake();
        }
    }

    fn misses(&self) -> bool {
        self.written[0] > self.read[1]
            || self.written[1] > self.read[0]
            || self.closed[0] != self.closed[1]
    }
}

/// What a dial finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dial {
    /// Nobody answers, as when the machine is gone or the way to it.
    Silence,
    Refused,
    Answered,
}

/// The pair in order, and the index of the direction from `a` to `b`.
fn pair(a: &Name, b: &Name) -> ((Name, Name), usize) {
    if a <= b {
        ((a.clone(), b.clone()), 0)
    } else {
        ((b.clone(), a.clone()), 1)
    }
}

impl Network {
    pub fn new(struck: Struck) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                struck,
                off: BTreeSet::new(),
                listening: BTreeSet::new(),
                links: BTreeMap::new(),
                streams: BTreeMap::new(),
            })),
        }
    }

    /// Changes what is wrong between two hosts; returns how it is now, with the pair in order.
    pub fn change(
        &self,
        a: &Name,
        b: &Name,
        change: impl FnOnce(&mut Link, usize),
    ) -> ((Name, Name), Link, Link) {
        let (key, direction) = pair(a, b);
        let mut state = self.state.lock();
        let link = state.links.entry(key.clone()).or_default();
        let before = link.clone();
        change(link, direction);
        let now = link.clone();
        if !now.losses.is_empty() {
            let between = |stream: &Stream| {
                let [Some(x), Some(y)] = &stream.hosts else {
                    return false;
                };
                pair(x, y).0 == key
            };
            for stream in state.streams.values() {
                let mut stream = stream.lock();
                stream.tainted |= between(&stream);
            }
        }
        (key, before, now)
    }

    pub fn power(&self, host: &Name, on: bool) {
        let mut state = self.state.lock();
        if on {
            state.off.remove(host);
        } else {
            state.off.insert(host.clone());
        }
    }

    pub fn listens(&self, host: &Name, listens: bool) {
        let mut state = self.state.lock();
        if listens {
            state.listening.insert(host.clone());
        } else {
            state.listening.remove(host);
        }
    }

    pub fn dial(&self, from: &Name, to: &Name) -> Dial {
        let state = self.state.lock();
        if state.off.contains(to) {
            return Dial::Silence;
        }
        if let Some(link) = state.links.get(&pair(from, to).0) {
            let blocked = link.blocks.iter().flatten();
            state.struck.all(
                blocked
                    .chain(&link.holds)
                    .chain(link.delays.keys())
                    .copied(),
            );
            if link.blocks.iter().any(|blocks| !blocks.is_empty()) {
                return Dial::Silence;
            }
        }
        if !state.listening.contains(to) {
            return Dial::Refused;
        }
        Dial::Answered
    }

    /// A dial came to nothing though somebody listens: by a loss, if there is one.
    pub fn dial_lost(&self, from: &Name, to: &Name) {
        let state = self.state.lock();
        if let Some(link) = state.links.get(&pair(from, to).0) {
            let lossy: Vec<usize> = link.losses.keys().copied().collect();
            state.struck.all(lossy);
        }
    }

    /// One end of a stream, named by the dialler's address.
    pub fn open(&self, key: SocketAddr, end: usize, host: &Name) -> Arc<Mutex<Stream>> {
        let mut state = self.state.lock();
        let is_old = |stream: &Arc<Mutex<Stream>>| stream.lock().hosts[end].is_some();
        if state.streams.get(&key).is_some_and(is_old) {
            state.streams.remove(&key);
        }
        let stream = state.streams.entry(key).or_insert_with(|| {
            Arc::new(Mutex::new(Stream {
                hosts: [None, None],
                written: [0; 2],
                read: [0; 2],
                closed: [false; 2],
                tainted: false,
                broken: false,
                wakers: [None, None],
                blocked: None,
                stalled_since: None,
            }))
        });
        let stream = stream.clone();
        stream.lock().hosts[end] = Some(host.clone());
        self.touch(&mut state, &mut stream.lock(), end);
        stream
    }

    /// Something is sent on a stream: what is wrong with its link strikes it.
    pub fn send(&self, stream: &mut Stream, end: usize) {
        self.touch(&mut self.state.lock(), stream, end);
    }

    fn touch(&self, state: &mut State, stream: &mut Stream, end: usize) {
        let [Some(x), Some(y)] = &stream.hosts else {
            return;
        };
        let (from, to) = if end == 0 { (x, y) } else { (y, x) };
        let (key, direction) = pair(from, to);
        let Some(link) = state.links.get(&key) else {
            return;
        };
        let blocks = &link.blocks[direction];
        stream.tainted |= !blocks.is_empty() || !link.losses.is_empty();
        let strikes = blocks.iter().chain(&link.holds).chain(link.delays.keys());
        let strikes: Vec<usize> = strikes.copied().collect();
        state.struck.all(strikes);
    }

    /// Resets streams that lost something a while ago. From time to time.
    pub fn sweep(&self, now: Duration) {
        let mut state = self.state.lock();
        let State {
            links,
            streams,
            struck,
            ..
        } = &mut *state;
        let mut lossy = Vec::new();
        streams.retain(|_, stream| {
            let mut stream = stream.lock();
            if stream.closed == [true; 2] || stream.broken {
                return false;
            }
            let [Some(x), Some(y)] = &stream.hosts else {
                return true;
            };
            let link = links.get(&pair(x, y).0);
            let whole = link.is_none_or(Link::is_whole);
            if !(stream.tainted && whole && stream.misses()) {
                stream.stalled_since = None;
                return true;
            }
            let since = *stream.stalled_since.get_or_insert(now);
            if now >= since + MISSED {
                lossy.extend(link.into_iter().flat_map(|l| l.losses.keys().copied()));
            }
            if now < since + GIVE_UP {
                return true;
            }
            stream.broken = true;
            stream.unblock();
            for waker in stream.wakers.iter_mut().filter_map(Option::take) {
                waker.wake();
            }
            false
        });
        struck.all(lossy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Network, Struck, Name, Name) {
        let struck = Struck::default();
        (Network::new(struck.clone()), struck, "a".into(), "b".into())
    }

    #[test]
    fn a_dial_finds_silence_refusal_or_somebody() {
        let (network, struck, a, b) = names();
        assert_eq!(network.dial(&a, &b), Dial::Refused);
        network.listens(&b, true);
        assert_eq!(network.dial(&a, &b), Dial::Answered);
        // One way is enough: no answer comes back.
        network.change(&b, &a, |link, direction| {
            link.blocks[direction].insert(7);
        });
        assert_eq!(network.dial(&a, &b), Dial::Silence);
        assert!(struck.has(7));
        network.change(&a, &b, |link, _| *link = Link::default());
        network.power(&b, false);
        assert_eq!(network.dial(&a, &b), Dial::Silence);
    }

    #[test]
    fn a_client_that_does_not_read_leaves_no_room() {
        let network = Network::new(Struck::default());
        let (client, router) = ("client-1".into(), "router-1".into());
        let key = "1.1.1.1:5".parse().unwrap();
        let stream = network.open(key, 0, &client);
        network.open(key, 1, &router);
        let mut stream = stream.lock();
        stream.written = [1 << 20, KEEPS];
        assert_eq!((stream.room(0), stream.room(1)), (u64::MAX, 0));
        stream.read[0] = 10;
        assert_eq!(stream.room(1), 10);
        stream.closed[0] = true;
        assert_eq!(stream.room(1), u64::MAX, "what nobody reads is thrown away");
    }

    /// Whether a stream that misses bytes is reset, if something of it was lost (`cut`).
    fn is_reset(cut: bool) -> bool {
        let (network, _, a, b) = names();
        let key = "1.1.1.1:5".parse().unwrap();
        let stream = network.open(key, 0, &a);
        network.open(key, 1, &b);
        let block = |on: bool| {
            network.change(&a, &b, |link, direction| match on {
                true => drop(link.blocks[direction].insert(0)),
                false => drop(link.blocks[direction].remove(&0)),
            });
        };
        block(cut);
        {
            let mut stream = stream.lock();
            stream.written[0] += 10;
            network.send(&mut stream, 0);
        }
        let second = Duration::from_secs(1);
        (0..20).for_each(|s| network.sweep(second * s));
        assert!(
            !stream.lock().broken,
            "a kernel waits for long while a link is cut"
        );
        block(false);
        (20..30).for_each(|s| network.sweep(second * s));
        stream.lock().broken
    }

    #[test]
    fn a_stream_that_lost_something_is_reset_when_its_link_is_whole() {
        assert!(is_reset(true));
        assert!(!is_reset(false));
    }
}
