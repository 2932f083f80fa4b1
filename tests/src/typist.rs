//! Somebody honest at a keyboard: types, waits for each acknowledgement, reads what others do.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use codraft_ot::{Content, Delta, Kind, Limits};
use codraft_proto::frame::{ClientFrame, ServerFrame, Welcome};
use codraft_proto::ids::{ClientId, Revision, Seq};
use tokio::time::Instant;

use crate::{
    rest::Rest,
    socket::{Socket, fresh_client},
};

/// One operation, from the key to its acknowledgement.
#[derive(Debug, Clone, Copy)]
pub struct Acked {
    pub rev: u64,
    pub took: Duration,
}

pub struct Typist {
    socket: Socket,
    limits: Limits,
    content: Content,
    pub rev: u64,
    seq: u64,
    /// The chain hashes that were told, with their revisions.
    pub marks: Vec<(u64, [u8; 32])>,
}

impl Typist {
    pub async fn open(rest: &Rest, doc: &str) -> Result<Typist> {
        Typist::open_as(rest, doc, fresh_client()).await
    }

    pub async fn open_as(rest: &Rest, doc: &str, client: ClientId) -> Result<Typist> {
        Typist::open_on(Socket::connect(rest, doc, client).await?).await
    }

    /// On a socket on which nothing was said yet.
    pub async fn open_on(socket: Socket) -> Result<Typist> {
        let (socket, welcome) = socket.hello(None, false).await?;
        let Welcome {
            rev,
            hash,
            acked,
            doc,
            ..
        } = welcome;
        let limits = Limits::default();
        let mut content = Content::new(Kind::Text);
        let doc = doc.context("a welcome without the document")?;
        content.apply(&Delta::decode(&doc, &limits)?, &limits)?;
        let seq = acked.map_or(Seq(0), |(seq, _)| seq);
        let mut typist = Typist {
            socket,
            limits,
            content,
            rev: rev.0,
            seq: seq.0,
            marks: vec![(rev.0, hash)],
        };
        // A document may come with what was missed since.
        while typist.socket.has_more() {
            typist.step().await?;
        }
        Ok(typist)
    }

    pub fn client(&self) -> ClientId {
        self.socket.client
    }

    pub fn into_socket(self) -> Socket {
        self.socket
    }

    pub fn text(&self) -> String {
        self.content.text()
    }

    /// How long the text is.
    pub fn units(&self) -> u32 {
        self.content.units()
    }

    /// Types at the end, and waits until it is saved.
    pub async fn append(&mut self, text: &str) -> Result<Acked> {
        let started = self.send(self.content.units(), text).await?;
        self.saved(started).await
    }

    /// Types at the start, and waits until it is saved.
    pub async fn prepend(&mut self, text: &str) -> Result<Acked> {
        let started = self.send(0, text).await?;
        self.saved(started).await
    }

    /// Sends an operation. `saved` is to be awaited before the next one.
    pub async fn send(&mut self, at: u32, text: &str) -> Result<Instant> {
        let mut delta = Delta::new();
        delta.retain(at);
        delta.insert(text);
        self.seq += 1;
        let (seq, base, ops) = (self.seq, self.rev, delta.to_bytes().into());
        let started = Instant::now();
        self.socket
            .send(&ClientFrame::Op {
                seq: Seq(seq),
                base: Revision(base),
                ops,
            })
            .await?;
        Ok(started)
    }

    /// Waits for the acknowledgement of what was sent. May be dropped and called again.
    pub async fn saved(&mut self, started: Instant) -> Result<Acked> {
        loop {
            if self.step().await? {
                return Ok(Acked {
                    rev: self.rev,
                    took: started.elapsed(),
                });
            }
        }
    }

    /// Reads on until a revision is here.
    pub async fn reach(&mut self, rev: u64) -> Result<()> {
        while self.rev < rev {
            self.step().await?;
        }
        Ok(())
    }

    /// Takes one frame; whether it is the acknowledgement.
    async fn step(&mut self) -> Result<bool> {
        match self.socket.next().await? {
            ServerFrame::Op(op) => {
                ensure!(
                    op.rev == Revision(self.rev + 1),
                    "revision {} after {}",
                    op.rev,
                    self.rev
                );
                self.rev = op.rev.0;
                self.content
                    .apply(&Delta::decode(&op.ops, &self.limits)?, &self.limits)?;
                return Ok(self.socket.is_mine(op.slot));
            }
            ServerFrame::Event(event) => self.rev = event.rev.0,
            ServerFrame::Skip { rev, .. } => self.rev = rev.0,
            ServerFrame::Mark(at) => self.marks.push((at.rev.0, at.hash)),
            frame @ (ServerFrame::Reject { .. }
            | ServerFrame::Rebase { .. }
            | ServerFrame::Already { .. }
            | ServerFrame::Resync { .. }
            | ServerFrame::Bye { .. }
            | ServerFrame::Welcome(_)) => bail!("an honest client was told {frame:?}"),
            _ => {}
        }
        Ok(false)
    }
}
