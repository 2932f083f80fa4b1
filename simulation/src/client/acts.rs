//! What a client does by itself.

use std::time::Duration;

use anyhow::Result;
use codraft_ot::{Attributes, Delta, Kind, Value, client::ClientDocument};
use codraft_proto::ids::{ClientId, Role};
use http::Method;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::time::{Instant, sleep};

use super::{Client, Connection, letters, thief, twin};
use crate::{
    plan::{self, Act, What},
    record::{ClientSeen, Seen},
    shared::user_name,
    trace::line,
};

#[allow(clippy::large_enum_variant)] // one a client, and never moved far
pub enum Step {
    /// By its index in the plan.
    Act(usize),
    Letter(Typing),
}

/// Letters one after the other.
pub struct Typing {
    left: u32,
    gap: Duration,
    cursor: Option<u64>,
    rng: StdRng,
}

impl Typing {
    fn new(letters: u32, gap_ms: u64, rng: StdRng) -> Self {
        Self {
            left: letters,
            gap: Duration::from_millis(gap_ms.max(1)),
            cursor: None,
            rng,
        }
    }
}

impl Client {
    pub(super) async fn take_step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Act(i) => match self.plan.acts.get(i).cloned() {
                Some(act) => self.act(&act).await,
                None => Ok(()),
            },
            Step::Letter(typing) => {
                self.letter(typing);
                Ok(())
            }
        }
    }

    fn plan_step(&mut self, at: Instant, step: Step) {
        self.step += 1;
        self.steps.insert((at, self.step), step);
    }

    async fn act(&mut self, act: &Act) -> Result<()> {
        line!(
            self.shared.trace,
            "{} does {:?}",
            self.speaker.at.host,
            act.what
        );
        let mut rng = StdRng::seed_from_u64(act.seed);
        match &act.what {
            What::Type { letters, gap_ms } => self.letter(Typing::new(*letters, *gap_ms, rng)),
            What::Paste { units } => self.paste(*units, &mut rng),
            What::Delete { units } => self.delete(*units, &mut rng),
            What::Format { units } => self.format(*units, &mut rng),
            What::Embed => self.embed(&mut rng),
            What::Offline { ms, letters } => {
                self.disconnect(Duration::ZERO);
                self.offline_until = Some(Instant::now() + Duration::from_millis(*ms));
                let gap_ms = ms / (u64::from(*letters) + 1);
                self.plan_step(
                    Instant::now(),
                    Step::Letter(Typing::new(*letters, gap_ms, rng)),
                );
            }
            What::Reload => {
                self.shared.recorder.mark("reloaded");
                self.store = self.store.reloaded();
                // What hands were doing is over; acts to come are the user's.
                self.steps.retain(|_, step| matches!(step, Step::Act(_)));
                self.disconnect(Duration::from_millis(rng.random_range(20..300)));
                self.viewed = None;
            }
            What::Reopen => {
                self.start_over(0);
                self.disconnect(Duration::from_millis(rng.random_range(1..200)));
            }
            What::Move { router } => {
                self.router = *router;
                self.disconnect(Duration::from_millis(rng.random_range(1..50)));
            }
            What::Grant { user, role } => self.grant(*user, *role),
            What::LookBack => self.look_back(&mut rng),
            What::Restore => self.restore(&mut rng),
            What::Snapshot => self.snapshot(),
            What::Comment => self.comment(&mut rng),
            What::Resend => return self.transmit(true).await,
            What::Mute { ms } => {
                self.mute_until = Some(Instant::now() + Duration::from_millis(*ms));
                self.get_under_way(&mut rng).await?;
            }
            What::Doze { ms } if self.is_live() => {
                self.dozes_until = Some(Instant::now() + Duration::from_millis(*ms));
            }
            What::Doze { .. } => {}
            What::LatePaste { units, ms } => {
                self.mute_until = Some(Instant::now() + Duration::from_millis(*ms));
                self.late_paste(*units, &mut rng);
                self.flush().await?;
            }
            What::Shapes { letters } => self.shapes(*letters, &mut rng),
            What::Opens { times } => self.opens(*times, &mut rng),
            What::Steal => self.steal(&mut rng),
            What::Poison => self.poison(&mut rng),
            What::Twin => self.twin(&mut rng).await?,
        }
        Ok(())
    }

    /// Whether it types at all: a page does not let a reader type, some clients do.
    fn types(&self) -> bool {
        self.plan.stubborn || self.role.is_none_or(Role::can_edit)
    }

    fn letter(&mut self, mut typing: Typing) {
        if typing.left == 0 || !self.types() {
            return;
        }
        typing.cursor = self.insert_letter(typing.cursor, &mut typing.rng);
        typing.left -= 1;
        if typing.left > 0 {
            let at = Instant::now() + typing.gap;
            self.plan_step(at, Step::Letter(typing));
        }
    }

    /// At the cursor, or anywhere; where the cursor is then. None when there is no document.
    pub(super) fn insert_letter(&mut self, cursor: Option<u64>, rng: &mut StdRng) -> Option<u64> {
        let screen = Screen::of(self)?;
        let at = match cursor {
            Some(at) => screen.place(at),
            None => screen.place(rng.random_range(0..=screen.last)),
        };
        // A slip of the finger: the letter before goes.
        if cursor.is_some() && at > 0 && rng.random_bool(0.08) {
            let from = screen.place(at - 1);
            let mut delta = Delta::new();
            delta.retain(from as u32).delete((at - from) as u32);
            return self.local(&delta.chop()).then_some(from);
        }
        let letter = self.letters.next(rng);
        let mut delta = Delta::new();
        delta
            .retain(at as u32)
            .insert(letter.encode_utf8(&mut [0; 4]));
        self.local(&delta).then_some(at + letter.len_utf16() as u64)
    }

    fn paste(&mut self, units: u32, rng: &mut StdRng) {
        let Some(screen) = Screen::of(self).filter(|_| self.types()) else {
            return;
        };
        let at = screen.place(rng.random_range(0..=screen.last));
        let mut delta = Delta::new();
        delta
            .retain(at as u32)
            .insert(&self.letters.text(units, rng));
        self.local(&delta);
    }

    /// Whether nothing waits that would go into one message with what comes.
    fn is_saved(&self) -> bool {
        let document = self.store.document.as_ref();
        document.is_some_and(ClientDocument::is_saved)
    }

    /// One letter of its own, and as much as it takes behind it.
    fn late_paste(&mut self, units: u32, rng: &mut StdRng) {
        let screen = Screen::of(self).filter(|_| self.is_saved() && self.types());
        let Some(screen) = screen else {
            return;
        };
        self.shared.recorder.mark("late_paste");
        let mut text = self.letters.text(1, rng);
        text.extend(std::iter::repeat_n(letters::FILLER, units as usize));
        let at = screen.place(rng.random_range(0..=screen.last));
        let mut delta = Delta::new();
        delta.retain(at as u32).insert(&text);
        self.local(&delta);
    }

    /// No two neighbours have the same attributes, so each is a run. As many as fit a message.
    fn shapes(&mut self, letters: u32, rng: &mut StdRng) {
        let may = self.is_saved() && self.types();
        let screen = Screen::of(self).filter(|screen| screen.rich && may);
        let Some(screen) = screen else {
            return;
        };
        let at = screen.place(rng.random_range(0..=screen.last));
        let first = self.letters.next(rng);
        let shapes: Vec<_> = (0..letters).map(|n| shape(n, rng)).collect();
        let mut most = shapes.len();
        loop {
            let mut delta = Delta::new();
            delta.retain(at as u32);
            for (n, shape) in shapes[..most].iter().enumerate() {
                let letter = if n == 0 { first } else { letters::FILLER };
                delta.insert_with(letter.encode_utf8(&mut [0; 4]), shape.clone());
            }
            if most == 0 || self.speaker.fits(&delta) {
                self.local(&delta);
                return;
            }
            most -= most / 8 + 1;
        }
    }

    /// Reads what it is sent, so that all of it is written.
    fn opens(&mut self, times: u32, rng: &mut StdRng) {
        for _ in 0..times {
            let (speaker, doc) = (self.speaker.clone(), self.doc);
            let (router, id) = (self.router, ClientId(rng.random()));
            self.shared.recorder.mark("opened_in_a_loop");
            tokio::task::spawn_local(async move {
                let router = plan::Host::Router(router).to_string();
                let opened = async {
                    let mut socket = speaker.open(&router, &doc.to_string(), id).await?;
                    socket.hello(None, false).await?;
                    socket.next().await
                };
                let _ = opened.await;
            });
        }
    }

    /// Comes in under a client id that another user has, if one is known.
    fn steal(&mut self, rng: &mut StdRng) {
        let Connection::Open(open) = &self.connection else {
            return;
        };
        // Not that of a restore, under which its own user has written already.
        let others = open.socket.others();
        let others: Vec<ClientId> = others.filter(|id| self.shared.is_taken(*id)).collect();
        let client = others.choose(rng).copied();
        let Some(client) = client.filter(|id| self.shared.take(self.plan.user, *id)) else {
            return;
        };
        let goods = thief::Goods {
            client,
            doc: self.doc,
            user: self.plan.user,
            letter: self.letters.next(rng),
        };
        let router = plan::Host::Router(rng.random_range(0..self.shared.plan.world.routers));
        let (speaker, shared) = (self.speaker.clone(), self.shared.clone());
        self.shared.recorder.mark("client_id_stolen");
        tokio::task::spawn_local(thief::come_in(speaker, shared, router.to_string(), goods));
    }

    fn poison(&mut self, rng: &mut StdRng) {
        let Some(screen) = Screen::of(self).filter(|_| self.types()) else {
            return;
        };
        let at = screen.place(rng.random_range(0..=screen.last));
        let mut delta = Delta::new();
        delta
            .retain(at as u32)
            .insert(plan::POISON.encode_utf8(&mut [0; 4]));
        self.local(&delta);
    }

    fn delete(&mut self, units: u32, rng: &mut StdRng) {
        if let Some((from, to)) = self.range(units, rng) {
            let mut delta = Delta::new();
            delta.retain(from).delete(to - from);
            self.local(&delta.chop());
        }
    }

    fn format(&mut self, units: u32, rng: &mut StdRng) {
        if !Screen::of(self).is_some_and(|screen| screen.rich) {
            return;
        }
        let Some((from, to)) = self.range(units, rng) else {
            return;
        };
        let value = match rng.random_range(0..4) {
            0 => Value::Null,
            1 => Value::Bool(true),
            2 => Value::Number(f64::from(rng.random_range(1..5))),
            _ => Value::String("red".into()),
        };
        let name = ["bold", "color", "size"][rng.random_range(0..3)];
        let mut delta = Delta::new();
        delta
            .retain(from)
            .retain_with(to - from, [(name.into(), value)].into());
        self.local(&delta);
    }

    fn embed(&mut self, rng: &mut StdRng) {
        let Some(screen) = Screen::of(self).filter(|screen| screen.rich && self.types()) else {
            return;
        };
        let at = screen.place(rng.random_range(0..=screen.last));
        let name = format!("{}-{}", self.plan.number, rng.random::<u32>());
        let value = Value::Object([("image".into(), Value::String(name.into()))].into());
        let mut delta = Delta::new();
        delta.retain(at as u32).embed(value, Default::default());
        self.local(&delta);
    }

    /// A range of what may be changed; none when there is nothing.
    fn range(&self, units: u32, rng: &mut StdRng) -> Option<(u32, u32)> {
        let screen = Screen::of(self).filter(|_| self.types())?;
        // Some hands do not look: what cuts a pair in two must be refused before it is sent.
        let looks = rng.random_bool(0.8);
        let place = |at: u64| if looks { screen.place(at) } else { at };
        let from = place(rng.random_range(0..=screen.last));
        let to = place((from + u64::from(rng.random_range(1..=units))).min(screen.last));
        (from < to).then_some((from as u32, to as u32))
    }

    fn local(&mut self, delta: &Delta) -> bool {
        let Some(document) = self.store.document.as_mut().filter(|_| !delta.is_empty()) else {
            return false;
        };
        if let Err(error) = document.local(delta) {
            let host = &self.speaker.at.host;
            line!(self.shared.trace, "{host} cannot: {error}");
            return false;
        }
        true
    }

    /// Not waited for: a person goes on typing.
    fn grant(&self, user: u32, role: Option<plan::Role>) {
        let router = plan::Host::Router(self.router).to_string();
        let (speaker, shared, doc, by) = (
            self.speaker.clone(),
            self.shared.clone(),
            self.doc,
            self.plan.user,
        );
        let path = format!("/v1/docs/{doc}/permissions/{}", user_name(user));
        let (method, body) = match role {
            Some(role) => (Method::PUT, serde_json::json!({ "role": role })),
            None => (Method::DELETE, serde_json::Value::Null),
        };
        self.note(ClientSeen::GrantAsked {
            by,
            user,
            doc: doc.0,
            role: body["role"].as_str().map(str::to_owned),
        });
        tokio::task::spawn_local(async move {
            let answer = speaker.call(&router, method, &path, &body).await;
            // No answer: it may have happened, or may yet.
            let Ok((200..=299, answer)) = answer else {
                return;
            };
            shared.recorder.mark("role changed");
            shared.recorder.note(Seen::Client(ClientSeen::Granted {
                by,
                user,
                doc: doc.0,
                role: answer["role"].as_str().map(str::to_owned),
                rev: answer["rev"].as_u64().unwrap_or(0),
            }));
        });
    }

    /// Types a letter if nothing is under way.
    async fn get_under_way(&mut self, rng: &mut StdRng) -> Result<()> {
        let document = self.store.document.as_ref();
        let flies = document.is_some_and(|d| d.inflight().is_some());
        if !flies && self.types() {
            self.insert_letter(None, rng);
            self.flush().await?;
        }
        Ok(())
    }

    /// A second socket sends what is under way.
    async fn twin(&mut self, rng: &mut StdRng) -> Result<()> {
        self.get_under_way(rng).await?;
        let Some(inflight) = self.store.document.as_ref().and_then(|d| d.inflight()) else {
            return Ok(());
        };
        let router = rng.random_range(0..self.shared.plan.world.routers);
        let copy = twin::Copy {
            client: self.id,
            doc: self.doc,
            seq: inflight.seq.0,
            base: inflight.base.0,
            ops: inflight.sent.to_bytes().into(),
        };
        // Some were asleep and come when it is long decided.
        let after = match rng.random_bool(0.5) {
            true => Duration::from_millis(rng.random_range(0..3_000)),
            false => Duration::ZERO,
        };
        let (speaker, shared) = (self.speaker.clone(), self.shared.clone());
        let router = plan::Host::Router(router).to_string();
        self.shared.recorder.mark("twin_sockets");
        tokio::task::spawn_local(async move {
            sleep(after).await;
            twin::send(speaker, shared, router, copy).await;
        });
        Ok(())
    }
}

/// Attributes small and large, flat and nested, some of them null.
fn shape(n: u32, rng: &mut StdRng) -> Attributes {
    let number = Value::Number(f64::from(n));
    let value = match rng.random_range(0..5) {
        0 => number,
        1 => Value::Object([("a".into(), Value::Null), ("n".into(), number)].into()),
        2 => Value::Array(vec![number, Value::Bool(true)]),
        3 => Value::String(format!("{n}").into()),
        _ => Value::Bool(n.is_multiple_of(2)),
    };
    [("b".into(), value)].into()
}

/// What is on a client's screen, as far as hands need to know.
struct Screen {
    units: Vec<u16>,
    rich: bool,
    /// The last place where something may stand.
    last: u64,
}

impl Screen {
    fn of(client: &Client) -> Option<Screen> {
        let content = client.store.document.as_ref()?.content();
        let units: Vec<u16> = content.text().encode_utf16().collect();
        let rich = content.kind() == Kind::Rich;
        // The last line break of a rich document stays last.
        let last = (units.len() as u64).saturating_sub(u64::from(rich));
        Some(Screen { units, rich, last })
    }

    /// The place, or the one before when that would split a pair.
    fn place(&self, at: u64) -> u64 {
        let at = at.min(self.last);
        let splits = self
            .units
            .get(at as usize)
            .is_some_and(|unit| (0xdc00..0xe000).contains(unit));
        if splits { at - 1 } else { at }
    }
}
