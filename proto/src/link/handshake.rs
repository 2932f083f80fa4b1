//! Who is at the other end: the first message of each lane, both ways.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tonic::Streaming;

use super::{LinkError, VERSIONS};
use crate::{
    topology::Placement,
    v1::{Batch, Hello, Message, PeerRole, message::Body},
};

/// Our hello for one link, from the template that the process gave.
pub(super) fn introduce(template: &Hello, link: u64) -> Hello {
    Hello {
        version_min: *VERSIONS.start(),
        version_max: *VERSIONS.end(),
        link,
        ..template.clone()
    }
}

/// Reads a lane's first batch: the peer's hello, and what came right behind it.
pub(super) async fn first(lane: &mut Streaming<Batch>) -> Result<(Hello, Vec<Message>), LinkError> {
    let batch = match lane.message().await {
        Ok(Some(batch)) => batch,
        Ok(None) => return Err(LinkError::Broke("ended before its hello".into())),
        Err(status) => return Err(refusal(&status)),
    };
    let mut messages = batch.messages;
    if messages.is_empty() {
        return Err(LinkError::WrongPeer("no hello".into()));
    }
    match messages.remove(0).body {
        Some(Body::Hello(hello)) => Ok((hello, messages)),
        _ => Err(LinkError::WrongPeer("no hello".into())),
    }
}

/// What holds for every peer, whatever its role; the rest is judged by `Accept` or `Dialled`.
pub(super) fn check(ours: &Hello, peer: &Hello) -> Result<(), LinkError> {
    let wrong = |why: String| Err(LinkError::WrongPeer(why));
    if peer.cluster != ours.cluster {
        return wrong(format!("of cluster {:?}", peer.cluster));
    }
    if peer.version_min > *VERSIONS.end() || peer.version_max < *VERSIONS.start() {
        return wrong(format!(
            "speaks versions {} to {}",
            peer.version_min, peer.version_max
        ));
    }
    if peer.role() == PeerRole::Unspecified {
        return wrong("of no role".into());
    }
    // Read at both ends, so it names both.
    let told = |hello: &Hello| hello.placement.as_ref().map(Placement::from);
    let (Some(mine), Some(theirs)) = (told(ours), told(peer)) else {
        return match ours.placement == peer.placement {
            true => Ok(()),
            false => wrong(format!("{} says nothing of its groups", name(peer))),
        };
    };
    match theirs.difference(&mine) {
        None => Ok(()),
        Some((theirs, mine)) => wrong(format!(
            "{} has {theirs} in its cluster.toml, {} has {mine}: give both the file that the \
             cluster was made with",
            name(peer),
            name(ours)
        )),
    }
}

fn name(hello: &Hello) -> String {
    match hello.role() {
        PeerRole::Node => format!("node {}", hello.id),
        PeerRole::Router | PeerRole::Unspecified => "the router".into(),
    }
}

/// Why links were refused. A refused peer comes again and again; one line is enough.
#[derive(Default)]
pub struct Refusals(Mutex<BTreeSet<String>>);

impl Refusals {
    /// Reasons that are remembered.
    const MOST: usize = 64;

    /// Whether this was not said before.
    pub fn is_new(&self, why: &str) -> bool {
        let mut said = self.0.lock();
        if said.len() >= Self::MOST {
            said.clear();
        }
        said.insert(why.to_owned())
    }

    /// All is well: should it happen again, it is said again.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Both lanes must be of one link between the same two processes.
pub(super) fn same(control: &Hello, data: &Hello) -> Result<(), LinkError> {
    if control == data {
        Ok(())
    } else {
        Err(LinkError::WrongPeer("the two lanes differ".into()))
    }
}

/// A refusal as the status that carries it to the dialling side.
pub(super) fn status(error: &LinkError) -> tonic::Status {
    match error {
        LinkError::WrongPeer(why) => tonic::Status::permission_denied(why.clone()),
        LinkError::Deadline(_) => tonic::Status::deadline_exceeded(error.to_string()),
        _ => tonic::Status::unavailable(error.to_string()),
    }
}

/// And back.
pub(super) fn refusal(status: &tonic::Status) -> LinkError {
    match status.code() {
        tonic::Code::PermissionDenied => LinkError::WrongPeer(status.message().to_owned()),
        code => LinkError::Broke(format!("{code:?}: {}", status.message())),
    }
}
