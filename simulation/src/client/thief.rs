//! Another user who comes in under somebody's client id, which the router tells everybody, and
//! writes under it. A client id is a name: what is done under it here is this user's alone.

use std::time::Duration;

use anyhow::Result;
use codraft_ot::{Delta, Limits};
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame, Welcome},
    ids::{ClientId, DocId, Role, Seq},
};
use tokio::time::timeout;

use crate::{
    convert,
    record::{ClientSeen, Edit, Id, Seen, author},
    shared::Shared,
    socket::{Socket, Speaker},
};

const LIFE: Duration = Duration::from_millis(1_500);

pub struct Goods {
    pub client: ClientId,
    pub doc: DocId,
    pub user: u32,
    pub letter: char,
}

/// What became of the one operation that a thief sends.
#[derive(PartialEq, Eq)]
enum Sent {
    Nothing,
    Waits(u64),
    Decided,
}

pub async fn come_in(mut speaker: Speaker, shared: Shared, router: String, goods: Goods) {
    // The encoding that names the sequence of each event.
    speaker.encoding = Encoding::Json;
    let mut sent = Sent::Nothing;
    let life = async {
        let doc = goods.doc.to_string();
        let mut socket = speaker.open(&router, &doc, goods.client).await?;
        socket.hello(None, true).await?;
        let mut thief = Thief {
            author: author(&socket.speaker.user, &goods.client.0),
            socket,
            shared: &shared,
            goods: &goods,
            sent: &mut sent,
        };
        thief.talk().await
    };
    let _ = timeout(LIFE, life).await;
    // Where it is not known what the number went to, nobody goes on under it.
    if !matches!(sent, Sent::Waits(_)) {
        shared.give_up(goods.user, goods.client);
    }
}

struct Thief<'a> {
    socket: Socket,
    shared: &'a Shared,
    goods: &'a Goods,
    author: Id,
    sent: &'a mut Sent,
}

impl Thief<'_> {
    async fn talk(&mut self) -> Result<()> {
        let (client, doc) = (self.author, self.goods.doc.0);
        loop {
            match self.socket.next().await?.0 {
                ServerFrame::Welcome(welcome) => self.welcomed(&welcome).await?,
                ServerFrame::Op(op) => {
                    let delta = Delta::decode(&op.ops, &Limits::default().of_document())?;
                    let author = self.socket.author(op.slot);
                    self.received(op.rev.0, author, Some(convert::edits(&delta)));
                    if self.socket.is_mine(op.slot) && *self.sent == Sent::Waits(op.seq.0) {
                        self.shared.recorder.mark("wrote under a stolen id");
                        *self.sent = Sent::Decided;
                        let (seq, rev) = (op.seq, op.rev);
                        self.note(ClientSeen::Acked {
                            client,
                            doc,
                            seq: seq.0,
                            rev: rev.0,
                        });
                    }
                }
                ServerFrame::Event(event) => self.received(event.rev.0, None, None),
                ServerFrame::Skip { rev, .. } => self.received(rev.0, None, None),
                ServerFrame::Resync { .. } | ServerFrame::Bye { .. } => return Ok(()),
                ServerFrame::Reject {
                    seq,
                    last: true,
                    code,
                    ..
                } if *self.sent == Sent::Waits(seq.0) => {
                    *self.sent = Sent::Decided;
                    let code = code.as_str().to_owned();
                    self.note(ClientSeen::Refused {
                        client,
                        doc,
                        seq: seq.0,
                        code,
                    });
                }
                _ => {}
            }
        }
    }

    /// Sends its one operation, where it may.
    async fn welcomed(&mut self, welcome: &Welcome) -> Result<()> {
        let (client, doc, user) = (self.author, self.goods.doc.0, self.goods.user);
        let base = welcome.rev;
        self.note(ClientSeen::Opened {
            client,
            user,
            doc,
            resumed: false,
            rev: base.0,
            head: self.socket.reaches().unwrap_or(base.0),
            chain: welcome.hash,
            acked: welcome.acked.map(|(seq, rev)| (seq.0, rev.0)),
            text: None,
        });
        if !Role::can_edit(welcome.role) {
            return Ok(());
        }
        let seq = welcome.acked.map_or(1, |(seq, _)| seq.0 + 1);
        let mut delta = Delta::new();
        delta.insert(self.goods.letter.encode_utf8(&mut [0; 4]));
        let ops = delta.to_bytes();
        *self.sent = Sent::Waits(seq);
        self.note(ClientSeen::Invoke {
            client,
            user,
            doc,
            seq,
            base: base.0,
            sent: convert::edits(&delta),
            bytes: *blake3::hash(&ops).as_bytes(),
        });
        let ops = ops.into();
        self.socket
            .send(&ClientFrame::Op {
                seq: Seq(seq),
                base,
                ops,
            })
            .await
    }

    fn received(&self, rev: u64, author: Option<Id>, edit: Option<Vec<Edit>>) {
        self.note(ClientSeen::Received {
            client: self.author,
            doc: self.goods.doc.0,
            rev,
            author,
            edit,
        });
    }

    fn note(&self, seen: ClientSeen) {
        self.shared.recorder.note(Seen::Client(seen));
    }
}
