#![allow(clippy::unwrap_used)]
use codraft_proto::link::{Lane, Outbox};

use super::*;
use crate::routers::Routers;

#[test]
fn a_cold_document_is_waited_for_and_never_missing() {
    let outbox = Outbox::detached();
    let link = Routers::default().add(outbox.clone(), "");
    let ask = |doc: u8, kind| ReadRequest::new(link.clone(), DocId([doc; 16]), kind, None, None);
    let (cold, other) = (1, 2);
    let mut deferred = Deferred::default();
    let done = Arc::new(AtomicBool::new(false));
    let mut keep = |request, is_cold: bool| {
        let bring = is_cold.then_some(|| done.clone());
        deferred.keep_or(request, bring).is_none()
    };
    assert!(keep(ask(cold, ReadKind::Follow(None)), true));
    assert!(
        keep(ask(cold, ReadKind::Unfollow), false),
        "what was asked of it later stays behind"
    );
    assert!(!keep(ask(other, ReadKind::Follow(None)), false));
    assert!(
        outbox.take(Lane::Data).is_empty(),
        "nobody was told anything"
    );

    let mut waiting = std::mem::take(&mut deferred).requests;
    assert_eq!(waiting.len(), 2);
    let due = |request: &ReadRequest| request.is_due();
    assert!(!waiting.iter().any(due), "nor is what stays behind");
    done.store(true, Release);
    assert!(waiting.iter().all(due));
    for request in waiting.drain(..) {
        let brought = None::<fn() -> Arc<AtomicBool>>;
        assert!(deferred.keep_or(request, brought).is_some(), "it is warm");
    }
}
