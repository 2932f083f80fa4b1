//! Another user who comes in under somebody's client id, which the router tells everybody, and
//! writes under it. A client id is a name: what is done under it here is this user's alone.

use std::time::Duration;

use anyhow::Result;
use codraft_ot::Delta;
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

pub async fn come_in(mut speaker: Speaker, shared: Shared, router: String, goods: Goods) {
    // The encoding that names the sequence of each event.
    speaker.encoding = Encoding::Json;
    let life = async {
        let doc = goods.doc.to_string();
        let mut socket = speaker.open(&router, &doc, goods.client).await?;
        socket.hello(None, true).await?;
        talk(&mut socket, &shared, &goods).await
    };
    let _ = timeout(LIFE, life).await;
}

async fn talk(socket: &mut Socket, shared: &Shared, goods: &Goods) -> Result<()> {
    let client = author(&socket.speaker.user, &goods.client.0);
    let doc = goods.doc.0;
    let note = |seen| shared.recorder.note(Seen::Client(seen));
    let mut sent = None;
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
                sent = Some(seq);
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
            ServerFrame::Op(op) if socket.is_mine(op.slot) && Some(op.seq) == sent => {
                shared.recorder.mark("wrote under a stolen id");
                let (seq, rev) = (op.seq, op.rev);
                note(ClientSeen::Acked {
                    client,
                    doc,
                    seq,
                    rev,
                });
            }
            ServerFrame::Reject {
                seq,
                last: true,
                code,
                ..
            } if Some(seq) == sent => {
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
