//! A client: a tab on one document. It types, loses its connection and comes back, keeps what
//! it has in a store that outlives a reload, and hands back what cannot be put in any more.
//!
//! The text is the reference client half's (`codraft_ot::client`); the rest of a real client is
//! here.

mod acts;
mod check;
mod frames;
mod late;
mod letters;
mod notes;
mod past;
mod presence;
mod thief;
mod twin;

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use anyhow::Result;
use codraft_ot::client::ClientDocument;
use codraft_proto::{
    frame::{At, ClientFrame, Encoding, ServerFrame},
    ids::{ClientId, DocId, Role, Seq},
};
use rand::{Rng, rngs::StdRng};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    convert,
    outside::HostNetwork,
    plan::{self, stream},
    record::{ClientSeen, Hash, Id, Seen, author},
    shared::{Shared, Stage, Standing, token, user_name},
    socket::{Socket, Speaker},
    trace::line,
};
use acts::Step;
use letters::Letters;
pub use letters::first_text;

/// How often a client looks what stage it is.
const LOOK: Duration = Duration::from_millis(50);
/// Before a connection is tried again; doubled up to the second.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A client that was told that it may not be here looks again after so long.
const BARRED: Duration = Duration::from_millis(700);
/// From the hello to the welcome: as long as the largest document takes on the slowest line.
const WELCOME: Duration = Duration::from_secs(8);
/// A socket that is silent for so long is asked for a sign of life, and given up when none
/// comes within the second.
const QUIET: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(2);

type Dialling = Pin<Box<dyn Future<Output = Result<Socket>>>>;

enum Connection {
    /// Until then.
    Closed(Instant),
    Dialling(Dialling),
    Open(Box<Open>),
}

struct Open {
    socket: Socket,
    /// Welcomed, and not told to start anew since.
    live: bool,
    since: Instant,
    heard: Instant,
    pinged: Option<Instant>,
    /// When it said what its document is.
    checked: Option<Instant>,
    /// That nothing is saved at the moment.
    told_saving: bool,
    seen: presence::Seen,
}

/// What a browser's store keeps over a reload: the document with what is under way and what
/// waits, and the position.
#[derive(Clone, Default)]
struct Store {
    document: Option<ClientDocument>,
    /// The last chain hash heard of, to resume from.
    mark: Option<At>,
    /// The last sequence that was used under the present name.
    seq: u64,
    /// The document holds another text than the servers', by no mistake of theirs.
    apart: bool,
}

pub struct Client {
    shared: Shared,
    plan: plan::Client,
    speaker: Speaker,
    doc: DocId,
    rng: StdRng,
    letters: Letters,
    id: ClientId,
    store: Store,
    connection: Connection,
    /// Where it wants to be, and how many attempts have failed since it was somewhere.
    router: u32,
    failed: u32,
    role: Option<Role>,
    barred: bool,
    steps: BTreeMap<(Instant, u64), Step>,
    step: u64,
    offline_until: Option<Instant>,
    resend_at: Option<Instant>,
    /// What it sends does not get out before then.
    mute_until: Option<Instant>,
    /// It reads nothing before then.
    dozes_until: Option<Instant>,
    /// The revision of the last view that was noted.
    viewed: Option<u64>,
    /// Typed after the faults were off.
    probed: bool,
    /// Its text comes apart once more.
    spoils: bool,
}

#[allow(clippy::large_enum_variant)] // looked at where it is made
enum Happened {
    Connected(Result<Socket>),
    Heard(Result<(ServerFrame, bool)>),
    Time,
}

impl Client {
    pub fn new(shared: Shared, plan: plan::Client) -> Self {
        let host = plan::Host::Client(plan.number).to_string();
        let at = HostNetwork {
            host: host.as_str().into(),
            network: shared.network.clone(),
            trace: shared.trace.clone(),
        };
        let mut rng = stream(shared.plan.seed, "tab", u64::from(plan.number));
        let encoding = if plan.json {
            Encoding::Json
        } else {
            Encoding::Binary
        };
        let speaker = Speaker {
            at,
            user: user_name(plan.user),
            token: token(plan.user),
            encoding,
        };
        let id = ClientId(rng.random());
        shared.take(plan.user, id);
        Self {
            letters: Letters::of_client(plan.number),
            spoils: Self::comes_apart(&plan),
            id,
            router: plan.router,
            doc: DocId::default(),
            rng,
            speaker,
            plan,
            shared,
            store: Store::default(),
            connection: Connection::Closed(Instant::now()),
            failed: 0,
            role: None,
            barred: false,
            steps: BTreeMap::new(),
            step: 0,
            offline_until: None,
            resend_at: None,
            mute_until: None,
            dozes_until: None,
            viewed: None,
            probed: false,
        }
    }

    /// Until the driver says that all is done.
    pub async fn live(mut self) {
        while self.shared.stage.get() == Stage::Setup {
            sleep(LOOK).await;
        }
        let Some(doc) = self.shared.doc(self.plan.document) else {
            return;
        };
        self.doc = doc;
        let began = Instant::now();
        let joins = began + Duration::from_millis(self.plan.joins_ms);
        self.connection = Connection::Closed(joins);
        for (i, act) in self.plan.acts.iter().enumerate() {
            let at = began + Duration::from_millis(act.at_ms);
            self.steps.insert((at, i as u64), Step::Act(i));
        }
        self.step = self.plan.acts.len() as u64;
        while self.shared.stage.get() != Stage::Done {
            let done = match self.wait().await {
                Happened::Connected(Ok(socket)) => self.greet(socket).await,
                Happened::Connected(Err(error)) => Err(error),
                Happened::Heard(Ok((frame, last))) => self.heard(frame, last).await,
                Happened::Heard(Err(error)) => Err(error),
                Happened::Time => self.time().await,
            };
            let done = match done {
                Ok(()) => self.flush().await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                self.closed(&format!("{error:#}"));
            }
            self.stand();
        }
        self.settle();
    }

    async fn wait(&mut self) -> Happened {
        let until = self.next_time();
        let dozes = self.dozes_until.is_some();
        let connection = &mut self.connection;
        let happens = async {
            match connection {
                Connection::Closed(_) => std::future::pending().await,
                Connection::Open(_) if dozes => std::future::pending().await,
                Connection::Dialling(dialling) => Happened::Connected(dialling.await),
                Connection::Open(open) => Happened::Heard(open.socket.next().await),
            }
        };
        tokio::select! {
            biased;
            happened = happens => happened,
            () = sleep_until(until) => Happened::Time,
        }
    }

    fn next_time(&self) -> Instant {
        let mut next = Instant::now() + LOOK;
        if let Some(((at, _), _)) = self.steps.first_key_value() {
            next = next.min(*at);
        }
        let waits = [self.resend_at, self.offline_until, self.dozes_until];
        for at in waits.into_iter().flatten() {
            next = next.min(at);
        }
        match &self.connection {
            Connection::Closed(until) if self.offline_until.is_none() => next.min(*until),
            _ => next,
        }
    }

    /// Something is due, or nothing.
    async fn time(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.shared.stage.get() == Stage::Healing {
            self.steps.clear();
            self.offline_until = None;
            self.mute_until = None;
            self.wake();
            self.probe();
        }
        if self.offline_until.is_some_and(|until| until <= now) {
            self.offline_until = None;
        }
        if self.dozes_until.is_some_and(|until| until <= now) {
            self.wake();
        }
        if let Connection::Closed(until) = &self.connection
            && *until <= now
            && self.offline_until.is_none()
        {
            self.dial();
        }
        let dozes = self.dozes_until.is_some();
        if let Connection::Open(open) = &mut self.connection
            && !dozes
        {
            if !open.live && now >= open.since + WELCOME {
                anyhow::bail!("no welcome");
            }
            match open.pinged {
                Some(at) if now >= at + ANSWER => anyhow::bail!("no sign of life"),
                None if open.live && now >= open.heard + QUIET => {
                    open.pinged = Some(now);
                    open.socket.send(&ClientFrame::Ping).await?;
                }
                _ => {}
            }
        }
        if !dozes {
            self.check().await?;
            self.say_where().await?;
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            self.resend_at = None;
            self.transmit(true).await?;
        }
        while let Some(entry) = self.steps.first_entry()
            && entry.key().0 <= now
        {
            let step = entry.remove();
            self.take_step(step).await?;
        }
        Ok(())
    }

    fn dial(&mut self) {
        let routers = self.shared.plan.world.routers;
        let router = (self.router + self.failed) % routers;
        let (speaker, doc, id) = (self.speaker.clone(), self.doc.to_string(), self.id);
        let router = plan::Host::Router(router).to_string();
        self.connection =
            Connection::Dialling(Box::pin(
                async move { speaker.open(&router, &doc, id).await },
            ));
    }

    async fn greet(&mut self, mut socket: Socket) -> Result<()> {
        self.hello(&mut socket).await?;
        let now = Instant::now();
        self.connection = Connection::Open(Box::new(Open {
            socket,
            live: false,
            since: now,
            heard: now,
            pinged: None,
            checked: None,
            told_saving: false,
            seen: presence::Seen::default(),
        }));
        Ok(())
    }

    /// Asks to come in, from where it stands.
    async fn hello(&self, socket: &mut Socket) -> Result<()> {
        let document = self.store.document.as_ref();
        let resume = document.and(self.store.mark);
        let unsent = document.is_some_and(|d| !d.is_saved());
        self.note(ClientSeen::Hello {
            client: self.author(),
            doc: self.doc.0,
            resume: resume.map(|at| at.rev).map(|n| n.0),
            unsent,
        });
        socket.hello(resume, unsent).await
    }

    /// The connection is gone; another one is tried after a while.
    fn closed(&mut self, why: &str) {
        line!(
            self.shared.trace,
            "{} is closed: {why}",
            self.speaker.at.host
        );
        if matches!(self.connection, Connection::Open(_)) {
            self.note(ClientSeen::Closed {
                client: self.author(),
                doc: self.doc.0,
                why: why.to_owned(),
            });
        }
        let doubled = BACKOFF * (1 << self.failed.min(5));
        self.failed += 1;
        self.later(doubled.min(BACKOFF_MAX));
    }

    /// Not before so long, and a little more.
    fn later(&mut self, pause: Duration) {
        let jitter = self.rng.random_range(0..=pause.as_millis() as u64 / 2);
        self.disconnect(pause + Duration::from_millis(jitter));
    }

    /// Reads again, and has heard nothing meanwhile.
    fn wake(&mut self) {
        if self.dozes_until.take().is_some()
            && let Connection::Open(open) = &mut self.connection
        {
            open.heard = Instant::now();
        }
    }

    fn disconnect(&mut self, pause: Duration) {
        (self.resend_at, self.dozes_until) = (None, None);
        self.connection = Connection::Closed(Instant::now() + pause);
    }

    fn is_live(&self) -> bool {
        matches!(&self.connection, Connection::Open(open) if open.live)
    }

    /// Sends what waits, if nothing is under way.
    async fn flush(&mut self) -> Result<()> {
        if !self.is_live() {
            return Ok(());
        }
        let waits = self
            .store
            .document
            .as_mut()
            .and_then(ClientDocument::send)
            .is_some();
        if waits {
            self.transmit(false).await
        } else {
            Ok(())
        }
    }

    /// Sends what is under way; `again`: it went out before, unchanged.
    async fn transmit(&mut self, again: bool) -> Result<()> {
        if let Some(document) = self.store.document.as_mut().filter(|_| again) {
            document.resume();
        }
        let document = self.store.document.as_ref();
        let (Some(inflight), true) = (document.and_then(|d| d.inflight()), self.is_live()) else {
            return Ok(());
        };
        let (seq, base) = (inflight.seq, inflight.base);
        let ops = inflight.sent.to_bytes();
        self.store.seq = seq.0;
        let bytes: Hash = *blake3::hash(&ops).as_bytes();
        let (client, doc) = (self.author(), self.doc.0);
        let seen = if again {
            ClientSeen::Resent {
                client,
                doc,
                seq: seq.0,
                base: base.0,
                bytes,
            }
        } else {
            let (user, sent) = (self.plan.user, convert::edits(&inflight.sent));
            ClientSeen::Invoke {
                client,
                user,
                doc,
                seq: seq.0,
                base: base.0,
                sent,
                bytes,
            }
        };
        self.note(seen);
        if self.mute_until.is_some_and(|until| Instant::now() < until) {
            self.resend_at = self.mute_until;
            return Ok(());
        }
        let frame = ClientFrame::Op {
            seq,
            base,
            ops: ops.into(),
        };
        match &mut self.connection {
            Connection::Open(open) => open.socket.send(&frame).await,
            _ => Ok(()),
        }
    }

    /// What is not acknowledged goes back to the user. `applied`: the last sequence that the
    /// server is known to have applied.
    fn hand_back(&mut self, applied: u64) {
        let Some(mut document) = self.store.document.take() else {
            return;
        };
        let mut text = String::new();
        let mut seq = 0;
        if let Some(inflight) = document.inflight()
            && inflight.seq > Seq(applied)
        {
            seq = inflight.seq.0;
            text = convert::inserted(&inflight.sent);
        }
        // What waits is next to be sent once nothing is under way.
        let rev = document.rev();
        let _ = document.acked(rev);
        let waits = document
            .send()
            .map(|pending| convert::inserted(&pending.sent));
        if seq == 0 && waits.is_none() {
            return;
        }
        text.push_str(&waits.unwrap_or_default());
        self.shared.recorder.mark("work handed back");
        self.note(ClientSeen::HandedBack {
            client: self.author(),
            doc: self.doc.0,
            seq,
            text,
        });
    }

    /// The document as the server has it, under a new name; what is not saved is handed back.
    fn start_over(&mut self, applied: u64) {
        self.hand_back(applied);
        self.store = Store::default();
        self.rename();
    }

    fn rename(&mut self) {
        self.id = ClientId(self.rng.random());
        self.shared.take(self.plan.user, self.id);
        self.viewed = None;
    }

    /// Types one more letter after all faults are off.
    fn probe(&mut self) {
        if self.probed || !self.is_live() || !self.role.is_some_and(Role::can_edit) {
            return;
        }
        let mut rng = stream(self.shared.plan.seed, "probe", u64::from(self.plan.number));
        self.probed = self.insert_letter(None, &mut rng).is_some();
    }

    /// Tells the driver where this client stands.
    fn stand(&self) {
        let document = self.store.document.as_ref();
        let saved = document.is_some_and(ClientDocument::is_saved) && !self.store.apart;
        let may_write = self.role.is_some_and(Role::can_edit);
        let seen = match &self.connection {
            Connection::Open(open) => Some(&open.seen),
            _ => None,
        };
        let standing = Standing {
            author: self.author(),
            place: seen.and_then(|seen| Some(seen.said?.0)),
            people: seen.map(presence::Seen::people).unwrap_or_default(),
            live: self.is_live(),
            saved,
            rev: document.map_or(0, |document| document.rev().0),
            told_saving: matches!(&self.connection, Connection::Open(open) if open.told_saving),
            barred: self.barred,
            role: self.role,
            served: !may_write || (self.probed && saved),
        };
        let mut board = self.shared.board.borrow_mut();
        board.insert(self.plan.number, standing);
    }

    fn settle(&self) {
        let Some(document) = self.store.document.as_ref().filter(|d| d.is_saved()) else {
            return;
        };
        if !self.is_live() {
            return;
        }
        let (text, digest) = convert::view(document.confirmed());
        self.note(ClientSeen::Settled {
            client: self.author(),
            doc: self.doc.0,
            rev: document.rev().0,
            text,
            digest,
        });
    }

    /// Who it is to the record.
    fn author(&self) -> Id {
        author(&user_name(self.plan.user), &self.id.0)
    }

    fn note(&self, seen: ClientSeen) {
        self.shared.recorder.note(Seen::Client(seen));
    }
}
