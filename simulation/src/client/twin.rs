//! A second tab that found the same store: it has the same client id and the same operation
//! under way, and sends it too.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use codraft_ot::Delta;
use codraft_proto::{
    frame::{ClientFrame, Encoding, ServerFrame},
    ids::{ClientId, DocId, Revision, Seq},
};
use tokio::time::timeout;

use crate::{
    record::{ClientSeen, Seen, author},
    shared::Shared,
    socket::{Socket, Speaker},
};

const LIFE: Duration = Duration::from_millis(1_500);

pub struct Copy {
    pub client: ClientId,
    pub doc: DocId,
    pub seq: u64,
    pub base: u64,
    pub ops: Bytes,
}

pub async fn send(mut speaker: Speaker, shared: Shared, router: String, copy: Copy) {
    // The encoding that names the sequence of each event.
    speaker.encoding = Encoding::Json;
    let life = async {
        let mut socket = speaker
            .open(&router, &copy.doc.to_string(), copy.client)
            .await?;
        socket.hello(None, true).await?;
        talk(&mut socket, &shared, &copy).await
    };
    let _ = timeout(LIFE, life).await;
}

/// A tab with an old store numbers other work the same. Nobody promised to take it, so it is no
/// operation of this client's; it must never be applied.
fn other_work(seq: u64, base: u64) -> ClientFrame {
    let mut other = Delta::new();
    other.insert("\u{e000}");
    let ops = other.to_bytes().into();
    ClientFrame::Op {
        seq: Seq(seq),
        base: Revision(base),
        ops,
    }
}

async fn talk(socket: &mut Socket, shared: &Shared, copy: &Copy) -> Result<()> {
    let (client, doc, seq, base) = (
        author(&socket.speaker.user, &copy.client.0),
        copy.doc.0,
        copy.seq,
        copy.base,
    );
    let note = |seen| shared.recorder.note(Seen::Client(seen));
    let mut stale = false;
    loop {
        match socket.next().await?.0 {
            ServerFrame::Welcome(_) => {
                let bytes = *blake3::hash(&copy.ops).as_bytes();
                note(ClientSeen::Resent {
                    client,
                    doc,
                    seq,
                    base,
                    bytes,
                });
                let ops = copy.ops.clone();
                socket
                    .send(&ClientFrame::Op {
                        seq: Seq(seq),
                        base: Revision(base),
                        ops,
                    })
                    .await?;
            }
            ServerFrame::Op(op) if socket.is_mine(op.slot) && op.seq == Seq(seq) && !stale => {
                note(ClientSeen::Acked {
                    client,
                    doc,
                    seq,
                    rev: op.rev.0,
                });
                stale = true;
                socket.send(&other_work(seq, base)).await?;
            }
            // Decided before, and the other tab was told how: of an older sequence only that is
            // known, so it counts as no acknowledgement.
            ServerFrame::Already { seq: own, .. } if own == Seq(seq) && !stale => {
                shared.recorder.mark("twin answered already");
                stale = true;
                socket.send(&other_work(seq, base)).await?;
            }
            ServerFrame::Reject {
                seq: own,
                last: true,
                code,
                ..
            } if own == Seq(seq) && !stale => {
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
