//! What the driver and the hosts of one run share.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    str::FromStr,
    time::Duration,
};

use codraft_proto::ids::{ClientId, DocId, GroupId, Role};
use codraft_router::{TokenKey, sign_token};

use crate::{
    outside::network::Network,
    overrides,
    plan::Plan,
    record::{Id, Place},
    recorder::Recorder,
    trace::Trace,
};

const TOKEN_SECRET: &[u8] = b"the simulation's secret of tokens, 32 bytes or more";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Documents are made; nothing breaks.
    Setup,
    Safety,
    /// All faults are off, and all must heal.
    Healing,
    Done,
}

/// Where a client stands.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Who it is to the record.
    pub author: Id,
    /// Where it said that it is, on the socket that it has.
    pub place: Option<Place>,
    /// Where others are, as it was told.
    pub people: BTreeMap<Id, Place>,
    /// The document is open on a socket.
    pub live: bool,
    /// Nothing pending, nothing under way.
    pub saved: bool,
    pub rev: u64,
    /// The last that it was told is that nothing is saved.
    pub told_saving: bool,
    /// Told that it may not be here.
    pub barred: bool,
    /// What it takes its role for.
    pub role: Option<Role>,
    /// What it typed after the faults were off is acknowledged, or it may not write.
    pub served: bool,
}

#[derive(Clone)]
pub struct Shared {
    inner: Rc<Inner>,
}

pub struct Inner {
    pub plan: Plan,
    pub stage: Cell<Stage>,
    /// When the safety phase began.
    pub began: Cell<Duration>,
    /// In the order of the plan.
    pub docs: RefCell<Vec<String>>,
    pub board: RefCell<BTreeMap<u32, Standing>>,
    /// Groups that have taken something since the faults were off.
    pub proved: RefCell<BTreeSet<GroupId>>,
    /// Client ids by user that somebody writes under: one at a time.
    names: RefCell<BTreeSet<(u32, ClientId)>>,
    asks: Cell<u64>,
    pub recorder: Recorder,
    pub network: Network,
    pub trace: Trace,
}

impl std::ops::Deref for Shared {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Shared {
    pub fn new(plan: Plan, recorder: Recorder, network: Network, trace: Trace) -> Self {
        Self {
            inner: Rc::new(Inner {
                plan,
                stage: Cell::new(Stage::Setup),
                began: Cell::default(),
                docs: RefCell::default(),
                board: RefCell::default(),
                proved: RefCell::default(),
                names: RefCell::default(),
                asks: Cell::default(),
                recorder,
                network,
                trace,
            }),
        }
    }

    /// Whether nobody wrote under it so far.
    pub fn take(&self, user: u32, client: ClientId) -> bool {
        self.names.borrow_mut().insert((user, client))
    }

    /// Whether a client writes under it.
    pub fn is_taken(&self, client: ClientId) -> bool {
        let names = self.names.borrow();
        names.iter().any(|(_, taken)| *taken == client)
    }

    pub fn give_up(&self, user: u32, client: ClientId) {
        self.names.borrow_mut().remove(&(user, client));
    }

    /// Another number for each question.
    pub fn next_ask(&self) -> u64 {
        self.asks.set(self.asks.get() + 1);
        self.asks.get()
    }

    pub fn doc(&self, number: u32) -> Option<DocId> {
        let docs = self.docs.borrow();
        DocId::from_str(docs.get(number as usize)?).ok()
    }
}

/// A user's name, as tokens have it.
pub fn user_name(user: u32) -> String {
    format!("user-{user}")
}

/// What all tokens are signed with.
pub fn token_key() -> TokenKey {
    TokenKey::secret(TOKEN_SECRET, "simulation", "simulation")
}

pub fn token(user: u32) -> String {
    const DAY: u64 = 86_400;
    let now = overrides::EPOCH.as_secs();
    // Only a key that is too short fails, and this one is not.
    sign_token(&token_key(), &user_name(user), now - DAY, now + DAY).unwrap_or_default()
}
