//! Clients as they are, with work in flight and work waiting, around one machine.

use std::sync::Arc;

use codraft_ot::{Limits, client::ClientDocument};
use codraft_proto::{event, ids::Revision};
use proptest::prelude::*;

use super::*;
use crate::machine::Event;

#[derive(Debug, Clone)]
enum Step {
    Type {
        who: usize,
        at: u32,
        text: &'static str,
    },
    Erase {
        who: usize,
        at: u32,
        units: u32,
    },
    /// Sends what waits, or what is in flight once more.
    Send {
        who: usize,
    },
    /// Some of what the feed has for this client.
    Hear {
        who: usize,
        events: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0usize..3;
    let text = prop::sample::select(vec!["a", "bc", "\u{1f980}", "d\u{1f980}e"]);
    prop_oneof![
        3 => (who.clone(), any::<u32>(), text)
            .prop_map(|(who, at, text)| Step::Type { who, at, text }),
        2 => (who.clone(), any::<u32>(), 1u32..4)
            .prop_map(|(who, at, units)| Step::Erase { who, at, units }),
        4 => who.clone().prop_map(|who| Step::Send { who }),
        3 => (who, 1usize..4).prop_map(|(who, events)| Step::Hear { who, events }),
    ]
}

struct Table {
    world: World,
    events: Vec<Arc<Event>>,
    /// State digest at each revision.
    digests: Vec<[u8; 32]>,
    clients: Vec<ClientDocument>,
}

impl Table {
    fn new() -> Self {
        let world = World::new();
        let digest = world.doc().content().digest();
        let events = world
            .doc()
            .events_after(Revision(0))
            .unwrap()
            .cloned()
            .collect();
        let client = ClientDocument::new(world.doc().content().clone(), Revision(1), Seq(0));
        Self {
            world,
            events,
            digests: vec![digest; 2],
            clients: vec![client; 3],
        }
    }

    /// A place of this client's text that splits no pair.
    fn place(&self, who: usize, at: u32) -> u32 {
        let units: Vec<u16> = self.clients[who].content().text().encode_utf16().collect();
        let at = at as usize % (units.len() + 1);
        let inside = units
            .get(at)
            .is_some_and(|unit| (0xdc00..0xe000).contains(unit));
        (at - usize::from(inside)) as u32
    }

    fn send(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.send();
        let Some(inflight) = client.inflight() else {
            return;
        };
        let (seq, base) = (inflight.seq.0, inflight.base.0);
        let applied = self
            .world
            .apply(edit(ADA, who as u8, seq, base, &inflight.sent));
        match applied.outcome {
            Outcome::Applied { .. } => {
                self.events.push(applied.event.unwrap());
                self.digests.push(self.world.doc().content().digest());
            }
            Outcome::Already { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, who: usize) -> bool {
        let client = &mut self.clients[who];
        let Some(event) = self.events.get(client.rev().0 as usize) else {
            return false;
        };
        assert_eq!(u32::from(event.kind), event::EDIT);
        if event.client == Some(id(who as u8)) {
            assert_eq!(
                client.acked(event.rev).unwrap().map(|sent| sent.seq),
                Some(event.seq)
            );
        } else {
            let delta = Delta::decode(&event.body, &Limits::default()).unwrap();
            client.remote(event.rev, &delta).unwrap();
        }
        if client.is_saved() {
            assert_eq!(
                client.content().digest(),
                self.digests[client.rev().0 as usize]
            );
        }
        true
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Type { who, at, text } => {
                let at = self.place(who, at);
                self.clients[who].local(&insert(at, text)).unwrap();
            }
            Step::Erase { who, at, units } => {
                let from = self.place(who, at);
                let length = self.clients[who].content().units();
                let to = self.place(who, (from + units).min(length));
                if to > from {
                    self.clients[who].local(&delete(from, to - from)).unwrap();
                }
            }
            Step::Send { who } => self.send(who),
            Step::Hear { who, events } => {
                for _ in 0..events {
                    self.hear(who);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn machine_clients_converge_at_every_revision(steps in prop::collection::vec(step(), 1..80)) {
        let mut table = Table::new();
        for step in steps {
            table.take(step);
        }
        loop {
            (0..3).for_each(|who| table.send(who));
            let heard = (0..3).filter(|who| table.hear(*who)).count();
            if heard == 0 && table.clients.iter().all(ClientDocument::is_saved) {
                break;
            }
        }
        for client in &table.clients {
            prop_assert_eq!(client.rev().0, table.world.head());
            prop_assert_eq!(client.content().text(), table.world.text());
        }
    }
}
