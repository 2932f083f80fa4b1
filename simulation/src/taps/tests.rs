//! One group of one node on a disk in memory, and what it tells of itself.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use codraft_proto::ids::{ClientId, DocId};
use parking_lot::Mutex;
use tracing::{Metadata, Subscriber, span};

use super::*;

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<NodeSeen>>>);

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }
    fn event(&self, event: &tracing::Event<'_>) {
        match read(7, 3, event) {
            Some(Seen::Node(seen)) => self.0.lock().push(seen),
            other => panic!("not understood: {other:?} {event:?}"),
        }
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

mod one_node;

#[test]
fn a_group_tells_of_itself() {
    let ear = Ear::default();
    let seen = ear.0.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tracing::subscriber::with_default(ear, || runtime.block_on(one_node::write_and_come_back()));
    let seen = seen.lock();
    let place = |is: &dyn Fn(&NodeSeen) -> bool| {
        seen.iter()
            .position(is)
            .unwrap_or_else(|| panic!("{seen:#?}"))
    };
    let voted = place(&|s| {
        matches!(
            s,
            NodeSeen::Voted {
                node: 7,
                life: 3,
                group: 2,
                candidate: 7,
                committed: false,
                ..
            }
        )
    });
    let leads = place(&|s| matches!(s, NodeSeen::Leads { group: 2, .. }));
    let members =
        place(&|s| matches!(s, NodeSeen::Appended { index: 0, voters, .. } if *voters == [[7]]));
    let created = place(&|s| {
        matches!(s, NodeSeen::Applied { kind, rev: 1, user, edit, .. }
            if kind == "create" && user == "ada"
            && *edit == Some(vec![Edit::Insert("hello".into(), vec![])]))
    });
    let NodeSeen::Applied { index, .. } = seen[created] else {
        panic!()
    };
    let appended = place(&|s| matches!(s, NodeSeen::Appended { index: at, .. } if *at == index));
    let synced = place(&|s| matches!(s, NodeSeen::Synced { index: at, .. } if *at >= index));
    let committed = place(&|s| matches!(s, NodeSeen::Committed { index: at, .. } if *at >= index));
    assert!(members < voted && voted < leads && leads < appended);
    assert!(appended < synced && synced < committed && committed < created);
    let writer = author("ada", &one_node::CLIENT.0);
    place(&|s| {
        matches!(s, NodeSeen::Applied { kind, rev: 2, client, seq: 1, edit, .. }
            if kind == "edit" && *client == Some(writer)
            && *edit == Some(vec![Edit::Retain(5, vec![]), Edit::Insert("!".into(), vec![])]))
    });
    place(&|s| {
        matches!(s, NodeSeen::Outcome { client, seq: 1, outcome, .. }
            if *client == Some(writer) && outcome == "already 2")
    });
    place(&|s| {
        matches!(s, NodeSeen::Applied { kind, grant, .. }
            if kind == "grant" && *grant == Some(("bob".into(), Some("editor".into()))))
    });
    place(&|s| matches!(s, NodeSeen::State { .. }));
    // The second life reads what the first one wrote.
    let recovered = place(&|s| matches!(s, NodeSeen::Recovered { damaged: false, .. }));
    let again = seen[recovered + 1..]
        .iter()
        .position(|s| matches!(s, NodeSeen::Recovered { damaged: false, .. }))
        .unwrap();
    let back = &seen[recovered + 1 + again - 1];
    assert!(
        matches!(back, NodeSeen::Synced { index: at, .. } if *at > index),
        "{back:?}"
    );
}

#[test]
fn what_is_no_tap_is_nothing() {
    assert!(Fields::default().seen(1, 1).is_none());
    let (mut title, rich) = (vec![2, 1, 1, b't'], vec![Edit::Insert("\n".into(), vec![])]);
    assert_eq!(created(&title), Some(rich));
    title[0] = 1;
    assert_eq!(created(&title), Some(vec![]));
    assert_eq!(created(&[1, 1, 9]), None);
    assert_eq!(granted(b"\x00bob"), Some(("bob".into(), None)));
    assert_eq!(voters(&[1; 40]), None);
    let _: (ClientId, DocId) = (one_node::CLIENT, one_node::DOC);
}
