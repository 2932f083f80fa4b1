//! One request to one node, on a link that lasts no longer than that.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Dialled, Inbound, Lane, LinkError, LinkOptions, Outbox, dial};
use crate::{
    ids::NodeId,
    outside::Outside,
    tasks::Tasks,
    v1::{Call, Hello, Message, PeerRole, Reply, message::Body, reply},
};

/// Asks a node as a router does and returns its answer, which may be a problem.
///
/// # Errors
/// Why there was no answer; what was asked may have been done all the same, or may yet be.
pub async fn ask(
    tasks: &Tasks,
    outside: &Outside,
    hello: Hello,
    (node, address): (NodeId, String),
    call: Call,
    within: Duration,
) -> Result<reply::Body, LinkError> {
    let (told, answer) = oneshot::channel();
    let asks = Arc::new(Asks {
        node,
        call,
        told: Mutex::new(Some(told)),
    });
    let link = dial(
        tasks,
        outside,
        address,
        hello,
        Arc::new(ToNode(asks)),
        LinkOptions::default(),
    );
    let answer = tokio::time::timeout(within, answer).await;
    link.close();
    match answer {
        Ok(Ok(answer)) => answer,
        _ => Err(LinkError::Deadline(within.as_millis() as u64)),
    }
}

/// Whatever happens first is the answer.
struct Asks {
    node: NodeId,
    call: Call,
    told: Mutex<Option<oneshot::Sender<Result<reply::Body, LinkError>>>>,
}

impl Asks {
    fn answer(&self, answer: Result<reply::Body, LinkError>) {
        if let Some(told) = self.told.lock().take() {
            // The caller may have given up.
            let _ = told.send(answer);
        }
    }
}

struct ToNode(Arc<Asks>);

impl Dialled for ToNode {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        if peer.role() != PeerRole::Node || peer.id != self.0.node.0 {
            return Err(LinkError::WrongPeer("not the node that was dialled".into()));
        }
        let body = Some(Body::Call(self.0.call.clone()));
        outbox
            .send(Lane::Data, Message { body })
            .map_err(|_| LinkError::Broke("it ended before the request was sent".into()))?;
        Ok(Arc::new(FromNode(self.0.clone())))
    }

    fn down(&self, error: &LinkError) {
        self.0.answer(Err(error.clone()));
    }
}

struct FromNode(Arc<Asks>);

impl Inbound for FromNode {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        for message in messages {
            if let Some(Body::Reply(Reply {
                body: Some(body), ..
            })) = message.body
            {
                self.0.answer(Ok(body));
            }
        }
    }

    fn closed(&self, reason: &LinkError) {
        self.0.answer(Err(reason.clone()));
    }
}
