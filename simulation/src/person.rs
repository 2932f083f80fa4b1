//! A person at a client: types, deletes, and outlives what happens to the connection.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use codraft_ot::{
    Component, Content, Delta, Kind, Limits,
    client::{ClientDocument, Event},
};
use codraft_proto::{
    frame::{At, ClientFrame, ServerFrame, Welcome},
    ids::ClientId,
};
use http::Method;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    ledger::{Ledger, Phase},
    overrides,
    socket::{Socket, Speaker},
    trace::line,
};

/// What the document starts with; any of it may be deleted.
const START: usize = 200;
const RECONNECT: Duration = Duration::from_millis(50);

pub struct Person {
    speaker: Speaker,
    ledger: Ledger,
    rng: StdRng,
    client: ClientId,
    /// The letter to be typed next.
    letter: u32,
    document: Option<ClientDocument>,
    /// The last chain hash heard of, to resume from.
    mark: Option<At>,
    resend: Option<Instant>,
}

impl Person {
    /// `first_letter`: where in Unicode this person's letters begin; each is typed once.
    pub fn new(speaker: Speaker, ledger: Ledger, seed: u64, first_letter: char) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            client: ClientId(rng.random()),
            speaker,
            ledger,
            rng,
            letter: first_letter as u32,
            document: None,
            mark: None,
            resend: None,
        }
    }

    /// Makes the document and lets `friend` write.
    pub async fn create(&self, friend: &str) {
        loop {
            match self.try_create(friend).await {
                Ok(doc) => {
                    self.ledger.lock().doc = Some(doc);
                    return;
                }
                Err(error) => line!(
                    self.speaker.trace,
                    "{} creates: {error:#}",
                    self.speaker.name
                ),
            }
            sleep(4 * RECONNECT).await;
        }
    }

    async fn try_create(&self, friend: &str) -> Result<String> {
        let body =
            serde_json::json!({"title": "simulated", "kind": "text", "initial": ".".repeat(START)});
        let answer = self.speaker.call(Method::POST, "/v1/docs", &body).await?;
        let doc = answer["id"].as_str().context("no id")?.to_owned();
        let path = format!("/v1/docs/{doc}/permissions/{friend}");
        self.speaker
            .call(Method::PUT, &path, &serde_json::json!({"role": "editor"}))
            .await?;
        Ok(doc)
    }

    /// Until the driver says that all is done.
    pub async fn live(&mut self) {
        let doc = loop {
            if let Some(doc) = self.ledger.lock().doc.clone() {
                break doc;
            }
            sleep(RECONNECT).await;
        };
        while self.ledger.lock().phase < Phase::Done {
            if let Err(error) = self.connected(&doc).await {
                line!(
                    self.speaker.trace,
                    "{} lost the connection: {error:#}",
                    self.speaker.name
                );
                sleep(RECONNECT).await;
            }
        }
    }

    /// Who comes last: what the document is to somebody who never saw it.
    pub async fn read_last(&self) -> Result<()> {
        let doc = self.ledger.lock().doc.clone().context("no document")?;
        let mut client = self.client;
        client.0[0] ^= 0xff;
        let (_socket, welcome) = self.speaker.open(&doc, client, None, false).await?;
        let text = content(&welcome)?.text();
        self.ledger.lock().last_text = Some(text);
        Ok(())
    }

    /// One connection's life.
    async fn connected(&mut self, doc: &str) -> Result<()> {
        let inflight = self
            .document
            .as_ref()
            .is_some_and(|d| d.inflight().is_some());
        let resume = self.document.as_ref().and(self.mark);
        let (mut socket, welcome) = self
            .speaker
            .open(doc, self.client, resume, inflight)
            .await?;
        let acked = welcome.acked.map_or(0, |(seq, _)| seq);
        match (&self.document, resume) {
            (None, _) => {
                self.document = Some(ClientDocument::new(content(&welcome)?, welcome.rev, acked))
            }
            (Some(_), Some(_)) => {
                ensure!(welcome.doc.is_none(), "resumed, and yet given the document")
            }
            (Some(_), None) => bail!("nothing to resume from"),
        }
        self.mark = Some(At {
            rev: welcome.rev,
            hash: welcome.hash,
        });
        self.with_ledger(|person| person.connections += 1);
        self.send(&mut socket, inflight).await?;
        let mut keystroke = Instant::now() + self.pause();
        loop {
            self.note();
            let resend = self.resend;
            let repeat = async {
                match resend {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                frame = socket.next() => self.take(&socket, frame?)?,
                () = repeat => {
                    self.resend = None;
                    self.send(&mut socket, true).await?;
                }
                () = sleep_until(keystroke) => {
                    match self.phase() {
                        Phase::Typing => self.keystroke()?,
                        Phase::Settling => {}
                        Phase::Done => return Ok(()),
                    }
                    keystroke = Instant::now() + self.pause();
                }
            }
            self.send(&mut socket, false).await?;
        }
    }

    fn phase(&self) -> Phase {
        self.ledger.lock().phase
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(10..60))
    }

    /// Types a letter anywhere, or deletes something of what was there at the start.
    fn keystroke(&mut self) -> Result<()> {
        let document = self.document.as_mut().context("no document")?;
        let text = document.content().text();
        let at = self.rng.random_range(0..=document.content().units());
        let mut delta = Delta::new();
        let plain = text.chars().nth(at as usize).is_some_and(|c| c.is_ascii());
        if plain && self.rng.random_bool(0.2) {
            delta.retain(at).delete(1);
            document.local(&delta)?;
            return Ok(());
        }
        let letter = char::from_u32(self.letter).context("out of letters")?;
        self.letter += 1;
        delta.retain(at).insert(&letter.to_string());
        document.local(&delta)?;
        self.with_ledger(|person| {
            person.typed.insert(letter);
        });
        Ok(())
    }

    /// Sends what waits; with `again` what is under way, unchanged.
    async fn send(&mut self, socket: &mut Socket, again: bool) -> Result<()> {
        let Some(document) = &mut self.document else {
            return Ok(());
        };
        let inflight = if again {
            document.resume().1
        } else {
            document.send()
        };
        let Some(inflight) = inflight else {
            return Ok(());
        };
        let ops = inflight.sent.to_bytes().into();
        let frame = ClientFrame::Op {
            seq: inflight.seq,
            base: inflight.base,
            ops,
        };
        socket.send(&frame).await
    }

    fn take(&mut self, socket: &Socket, frame: ServerFrame) -> Result<()> {
        let document = self.document.as_mut().context("no document")?;
        let (rev, event) = match frame {
            ServerFrame::Op(op) if socket.is_mine(op.slot) => {
                // This encoding leaves the number out: there is only one it can be.
                (
                    op.rev,
                    Event::Own {
                        seq: document.inflight().map_or(0, |i| i.seq),
                    },
                )
            }
            ServerFrame::Op(op) => (
                op.rev,
                Event::Other(Delta::decode(&op.ops, &Limits::default())?),
            ),
            ServerFrame::Event(event) => (event.rev, Event::Passed),
            ServerFrame::Skip { rev, .. } => (rev, Event::Passed),
            ServerFrame::Mark(at) => {
                self.mark = Some(at);
                return Ok(());
            }
            ServerFrame::Reject {
                last: false,
                retry_after_ms,
                ..
            } => {
                let pause = Duration::from_millis(u64::from(retry_after_ms.max(20)));
                self.resend = Some(Instant::now() + pause);
                return Ok(());
            }
            ServerFrame::Resync { reason } => bail!("resync: {reason}"),
            ServerFrame::Bye { code, reason, .. } => bail!("bye: {code:?} {reason}"),
            // The event itself comes too, or came.
            ServerFrame::Already { .. } => return Ok(()),
            ServerFrame::Who(_) | ServerFrame::Presence { .. } | ServerFrame::Role { .. } => {
                return Ok(());
            }
            ServerFrame::Saving { .. } | ServerFrame::Pong => return Ok(()),
            other => {
                let problem = format!("{} was told {other:?}", self.speaker.name);
                self.ledger.problem(problem.clone());
                bail!(problem);
            }
        };
        // Resumed from the last mark: what follows it may be known.
        if rev <= document.rev() {
            return Ok(());
        }
        let own = matches!(event, Event::Own { .. });
        let letters = document
            .inflight()
            .filter(|_| own)
            .map(|i| letters(&i.sent));
        if let Err(error) = document.receive(rev, &event) {
            self.ledger.problem(format!(
                "{} cannot take revision {rev}: {error}",
                self.speaker.name
            ));
            return Err(error.into());
        }
        if let Some(letters) = letters {
            self.resend = None;
            self.with_ledger(|person| {
                person.operations += 1;
                person.acked.extend(letters);
            });
            self.ledger.lock().acks.push(overrides::elapsed());
        }
        Ok(())
    }

    /// Tells the driver where this client stands.
    fn note(&self) {
        if let Some(document) = &self.document {
            self.with_ledger(|person| {
                person.rev = document.rev();
                person.saved = document.is_saved();
                person.text = document.content().text();
            });
        }
    }

    fn with_ledger(&self, f: impl FnOnce(&mut crate::ledger::Person)) {
        f(self
            .ledger
            .lock()
            .people
            .entry(self.speaker.name)
            .or_default());
    }
}

fn content(welcome: &Welcome) -> Result<Content> {
    let limits = Limits::default();
    let start = Delta::decode(
        welcome.doc.as_ref().context("no document in the welcome")?,
        &limits,
    )?;
    Ok(Content::from_delta(Kind::Text, &start, &limits)?)
}

fn letters(delta: &Delta) -> Vec<char> {
    let mut letters = Vec::new();
    for component in delta.components() {
        if let Component::Insert { text, .. } = component {
            letters.extend(text.chars());
        }
    }
    letters
}
