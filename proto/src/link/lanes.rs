//! A link that is up: its two readers, and its end.

use std::sync::Arc;

use tonic::Streaming;

use super::{Inbound, Lane, LinkError, Outbox, handshake};
use crate::{
    tasks::Tasks,
    v1::{Batch, Message},
};

/// One lane's incoming half after the handshake.
pub(super) struct Incoming {
    pub stream: Streaming<Batch>,
    /// What came in the same batch as the hello.
    pub early: Vec<Message>,
}

/// Carries a link until it ends, and says so to `inbound`. `tasks` is the connection's own
/// set; it is over when this returns.
pub(super) async fn run(
    tasks: &Tasks,
    outbox: &Outbox,
    inbound: Arc<dyn Inbound>,
    control: Incoming,
    data: Incoming,
) -> LinkError {
    for (lane, name, incoming) in [
        (Lane::Control, "link control", control),
        (Lane::Data, "link data", data),
    ] {
        let (outbox, inbound) = (outbox.clone(), inbound.clone());
        tasks.spawn(name, async move {
            let reason = read(lane, incoming, inbound.as_ref()).await;
            outbox.end(reason);
        });
    }
    let reason = outbox.ended().await;
    // First the readers, so that nothing follows `closed`.
    tasks.shutdown().await;
    inbound.closed(&reason);
    reason
}

async fn read(lane: Lane, incoming: Incoming, inbound: &dyn Inbound) -> LinkError {
    let Incoming { mut stream, early } = incoming;
    if !early.is_empty() {
        inbound.batch(lane, early);
    }
    loop {
        match stream.message().await {
            Ok(Some(batch)) => inbound.batch(lane, batch.messages),
            Ok(None) => return LinkError::Broke("closed by the peer".into()),
            Err(status) => return handshake::refusal(&status),
        }
    }
}
