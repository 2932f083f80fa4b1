//! What arrives from the nodes, and the keeping of one link to each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use codraft_proto::{
    ids::{DocId, GroupId, NodeId, Revision},
    link::{Dialled, Inbound, Lane, LinkError, LinkHandle, LinkOptions, Outbox, Refusals, dial},
    outside::Outside,
    v1::{Hello, Leadership, Message, PeerRole, message::Body},
};

use crate::{
    Shared, convert,
    feed::Event,
    hub::Hub,
    ids::{LinkId, OpenTag},
};

/// Dials every node of the topology, as it changes, and keeps the links up.
pub fn dial_all(shared: &Arc<Shared>, outside: &Outside, options: &LinkOptions) {
    let mut id = [0; 16];
    outside.entropy.fill(&mut id);
    let (id, incarnation) = id.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let topology = shared.upstream.topology();
    let mut links = Links {
        shared: Arc::downgrade(shared),
        outside: outside.clone(),
        hello: Hello {
            address: shared.routers.own().to_owned(),
            ..Hello::new(topology, PeerRole::Router, number(id), number(incarnation))
        },
        options: options.clone(),
        dialled: BTreeMap::new(),
    };
    let changes = topology.changes();
    links.dial();
    if let Some(mut changes) = changes {
        shared.tasks.spawn("topology", async move {
            while changes.changed().await.is_ok() {
                links.dial();
            }
        });
    }
}

/// The links to the nodes that there are.
struct Links {
    shared: Weak<Shared>,
    outside: Outside,
    hello: Hello,
    options: LinkOptions,
    dialled: BTreeMap<(NodeId, String), LinkHandle>,
}

impl Links {
    /// Dials those that are new, and no longer those that are gone.
    fn dial(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let nodes = shared.upstream.nodes();
        self.dialled.retain(|node, handle| {
            let stays = nodes.contains(node);
            if !stays {
                handle.close();
            }
            stays
        });
        for (node, address) in nodes {
            let key = (node, address.clone());
            if self.dialled.contains_key(&key) {
                continue;
            }
            let to = Arc::new(ToNode {
                shared: self.shared.clone(),
                node,
                refusals: Refusals::default(),
            });
            let (hello, options) = (self.hello.clone(), self.options.clone());
            let handle = dial(&shared.tasks, &self.outside, address, hello, to, options);
            self.dialled.insert(key, handle);
        }
    }
}

/// The dialling end of the link to one node. Weak: the links' tasks do not keep a router
/// that is gone.
struct ToNode {
    shared: Weak<Shared>,
    node: NodeId,
    refusals: Refusals,
}

impl Dialled for ToNode {
    fn up(&self, peer: &Hello, outbox: Outbox) -> Result<Arc<dyn Inbound>, LinkError> {
        let wrong = |what: &str| Err(LinkError::WrongPeer(what.to_owned()));
        let Some(shared) = self.shared.upgrade() else {
            return wrong("this router has stopped");
        };
        if peer.role() != PeerRole::Node || peer.id != self.node.0 {
            return wrong("not the node that was dialled");
        }
        self.refusals.clear();
        let route = shared.upstream.linked(self.node, outbox);
        shared.metrics.links.inc();
        tracing::info!(node = self.node.0, incarnation = peer.incarnation, "linked");
        shared.hubs.reroute_all(&shared);
        Ok(Arc::new(FromNode {
            shared: self.shared.clone(),
            node: self.node,
            link: route.link,
        }))
    }

    fn down(&self, error: &LinkError) {
        match error {
            LinkError::WrongPeer(why) if self.refusals.is_new(why) => {
                tracing::error!(node = self.node.0, %error, "not linked");
            }
            _ => tracing::debug!(node = self.node.0, %error, "not linked"),
        }
    }
}

/// What one link brings.
struct FromNode {
    shared: Weak<Shared>,
    node: NodeId,
    link: LinkId,
}

impl Inbound for FromNode {
    fn batch(&self, _lane: Lane, messages: Vec<Message>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        for message in messages {
            if let Some(body) = message.body {
                self.take(&shared, body);
            }
        }
    }

    fn closed(&self, reason: &LinkError) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        tracing::info!(node = self.node.0, %reason, "link lost");
        shared.metrics.links.dec();
        shared.upstream.unlinked(self.node, self.link);
        shared.routers.told(self.link, None, shared.now_ms());
        shared.hubs.link_lost(&shared, self.link);
    }
}

impl FromNode {
    fn take(&self, shared: &Arc<Shared>, body: Body) {
        // Whoever it says leads is heard of after what it answered was taken in.
        let lead = convert::leader_of(&body);
        self.hand_over(shared, body);
        self.told(shared, lead.as_ref());
    }

    fn hand_over(&self, shared: &Arc<Shared>, body: Body) {
        let link = self.link;
        let hub = |doc: &[u8]| -> Option<Arc<Hub>> { shared.hubs.get(DocId::from_slice(doc)?) };
        let handle = |doc: &[u8], event: Event| {
            if let Some(hub) = hub(doc) {
                hub.handle(shared, event);
            }
        };
        match body {
            Body::Events(m) => {
                let (events, hash) = (convert::events(m.events), convert::hash(&m.hash));
                handle(&m.doc, Event::Events { link, events, hash });
            }
            Body::Answer(m) => {
                if let (Some(hub), Some(attempt), Some(verdict)) =
                    (hub(&m.doc), convert::attempt(&m), m.verdict)
                {
                    hub.answered(shared, &attempt, convert::answer(verdict));
                }
            }
            Body::Opened(m) => {
                let (doc, tag) = (m.doc.clone(), OpenTag(m.tag));
                let answer = convert::opened(m);
                handle(&doc, Event::Opened { link, tag, answer });
            }
            Body::Followed(m) => {
                let doc = m.doc.clone();
                let answer = convert::followed(m);
                handle(&doc, Event::Followed { link, answer });
            }
            Body::Checked(m) => {
                if let Some(hub) = hub(&m.doc) {
                    hub.checked(shared, Revision(m.rev), convert::hash(&m.digest));
                }
            }
            Body::Presences(m) => {
                if let Some(hub) = hub(&m.doc) {
                    hub.people(shared, link, m);
                }
            }
            Body::Cut(m) => {
                let code = convert::code(m.problem.as_ref());
                handle(&m.doc, Event::Cut { link, code });
            }
            Body::CutAll(m) => {
                let code = convert::code(m.problem.as_ref());
                shared.hubs.cut(shared, link, GroupId(m.group), code);
            }
            Body::Leadership(m) => self.told(shared, Some(&m)),
            Body::Routers(m) => {
                let now_ms = shared.now_ms();
                shared.routers.told(link, Some(m.addresses), now_ms);
            }
            Body::Reply(m) => shared.upstream.replied(m),
            // Not for a router; a newer node may say more than this build knows.
            _ => {}
        }
    }

    fn told(&self, shared: &Arc<Shared>, lead: Option<&Leadership>) {
        if let Some(lead) = lead
            && shared.upstream.told(self.node, lead)
        {
            shared.hubs.reroute(shared, GroupId(lead.group));
        }
    }
}
