//! Another user who comes in under somebody's client id, which the router tells everybody, and
//! writes under it. A client id is a name: what is done under it here is this user's alone.

use std::time::Duration;

use anyhow::Result;
use codraft_ot::{Delta, Limits};
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame},
    ids::{ClientId, DocId, Role},
};
use tokio::time::timeout;

use crate::{
    convert,
    record::{ClientSeen, Seen, author},
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
        talk(&mut socket, &shared, &goods, &mut sent).await
    };
    let _ = timeout(LIFE, life).await;
    // Where it is not known what the number went to, nobody goes on under it.
    if !matches!(sent, Sent::Waits(_)) {
        shared.give_up(goods.user, goods.client);
    }
}

async fn talk(socket: &mut Socket, shared: &Shared, goods: &Goods, sent: &mut Sent) -> Result<()> {
    let client = author(&socket.speaker.user, &goods.client.0);
    let doc = goods.doc.0;
    let note = |seen| shared.recorder.note(Seen::Client(seen));
    let received = |rev, author, edit| {
        note(ClientSeen::Received {
            client,
            doc,
            rev,
            author,
            edit,
        });
    };
    loop {
        match socket.next().await?.0 {
            ServerFrame::Welcome(welcome) => {
                note(ClientSeen::Opened {
                    client,
                    user: goods.user,
                    doc,
                    resumed: false,
                    rev: welcome.rev,
                    chain: welcome.hash,
                    acked: welcome.acked,
                    text: None,
                });
                if !Role::can_edit(welcome.role) {
                    continue;
                }
                let seq = welcome.acked.map_or(1, |(seq, _)| seq + 1);
                let mut delta = Delta::new();
                delta.insert(goods.letter.encode_utf8(&mut [0; 4]));
                let ops = delta.to_bytes();
                *sent = Sent::Waits(seq);
                note(ClientSeen::Invoke {
                    client,
                    user: goods.user,
                    doc,
                    seq,
                    base: welcome.rev,
                    sent: convert::edits(&delta),
                    bytes: *blake3::hash(&ops).as_bytes(),
                });
                let (base, ops) = (welcome.rev, ops.into());
                socket.send(&ClientFrame::Op { seq, base, ops }).await?;
            }
            ServerFrame::Op(op) => {
                let delta = Delta::decode(&op.ops, &Limits::default().of_document())?;
                let (rev, author) = (op.rev, socket.author(op.slot));
                received(rev, author, Some(convert::edits(&delta)));
                if socket.is_mine(op.slot) && *sent == Sent::Waits(op.seq) {
                    shared.recorder.mark("wrote under a stolen id");
                    *sent = Sent::Decided;
                    let seq = op.seq;
                    note(ClientSeen::Acked {
                        client,
                        doc,
                        seq,
                        rev,
                    });
                }
            }
            ServerFrame::Event(event) => received(event.rev, None, None),
            ServerFrame::Skip { rev, .. } => received(rev, None, None),
            ServerFrame::Resync { .. } | ServerFrame::Bye { .. } => return Ok(()),
            ServerFrame::Reject {
                seq,
                last: true,
                code,
                ..
            } if *sent == Sent::Waits(seq) => {
                *sent = Sent::Decided;
                let code = code.as_str().to_owned();
                note(ClientSeen::Refused {
                    client,
                    doc,
                    seq,
                    code,
                });
            }
            _ => {}
        }
    }
}
