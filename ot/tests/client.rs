//! Clients around a server that orders, refuses, forgets connections and asks for a rebase.
#![allow(clippy::unwrap_used)]

mod common;

use codraft_ot::{
    ClientDocument, Content, Delta, Kind, Limits, Revision, Seq,
    client::{ClientError, Event},
};
use common::*;
use proptest::prelude::*;

struct Server {
    content: Content,
    log: Vec<(usize, u64, Delta)>,
    /// Bases below it are answered with a rebase.
    floor: u64,
}

enum Answer {
    Logged,
    Refused,
    Rebase,
}

impl Server {
    fn submit(&mut self, who: usize, sent: (Seq, Revision, Delta), refuse: bool) -> Answer {
        let (Seq(seq), Revision(base), mut delta) = sent;
        if self
            .log
            .iter()
            .any(|(author, logged, _)| (*author, *logged) == (who, seq))
        {
            return Answer::Logged;
        }
        if base < self.floor {
            return Answer::Rebase;
        }
        if refuse {
            return Answer::Refused;
        }
        for (_, _, earlier) in &self.log[base as usize..] {
            delta = earlier.transform(&delta, true);
        }
        self.content.apply(&delta, &Limits::default()).unwrap();
        self.log.push((who, seq, delta));
        Answer::Logged
    }

    fn events_after(&self, who: usize, rev: u64) -> Vec<(Revision, Event)> {
        let event = |(author, seq, delta): &(usize, u64, Delta)| {
            if *author == who {
                Event::Own { seq: Seq(*seq) }
            } else {
                Event::Other(delta.clone())
            }
        };
        (rev + 1..)
            .map(Revision)
            .zip(self.log[rev as usize..].iter().map(event))
            .collect()
    }
}

/// A client and what its screen shows, changed only by what the client says.
struct Desk {
    client: ClientDocument,
    screen: Content,
}

impl Desk {
    fn hear(&mut self, server: &Server, who: usize) {
        for (rev, event) in server.events_after(who, self.client.rev().0) {
            let view = self.client.receive(rev, &event).unwrap();
            self.show(view);
        }
        let confirmed = self.client.confirmed().to_delta();
        assert_eq!(confirmed, server.content.to_delta(), "at the head");
    }

    fn show(&mut self, view: Option<Delta>) {
        if let Some(view) = view {
            self.screen.apply(&view, &Limits::default()).unwrap();
        }
        assert_eq!(self.screen.to_delta(), self.client.content().to_delta());
    }

    fn submit(&mut self, server: &mut Server, who: usize, refuse: bool) {
        self.client.send();
        // Sent again and again, unchanged: a repeat is known.
        let (_, Some(again)) = self.client.resume() else {
            return;
        };
        let sent = (again.seq, again.base, again.sent.clone());
        match server.submit(who, sent, refuse) {
            Answer::Logged => {}
            Answer::Refused => {
                let refused = self.client.refused().unwrap().unwrap();
                self.show(Some(refused.view));
            }
            Answer::Rebase => {
                let events = server.events_after(who, self.client.rev().0);
                self.client.rebase(events).unwrap();
                self.screen = self.client.content().clone();
                let again = self.client.inflight().unwrap();
                let sent = (again.seq, again.base, again.sent.clone());
                assert!(matches!(server.submit(who, sent, false), Answer::Logged));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Turn {
    Type(Vec<Step>),
    Submit { refuse: bool },
    Hear,
    Trim,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        5 => steps().prop_map(Turn::Type),
        4 => (0..5u8).prop_map(|n| Turn::Submit { refuse: n == 0 }),
        2 => Just(Turn::Hear),
        1 => Just(Turn::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn clients_converge_through_refusals_and_rebases(
        (kind, start) in prop_oneof![Just(Kind::Text), Just(Kind::Rich)]
            .prop_flat_map(|kind| (Just(kind), document(kind))),
        turns in prop::collection::vec((0..3usize, turn()), 1..40),
    ) {
        let content = content(kind, &start);
        let mut server = Server { content: content.clone(), log: vec![], floor: 0 };
        let desk = || Desk {
            client: ClientDocument::new(content.clone(), Revision(0), Seq(0)),
            screen: content.clone(),
        };
        let mut desks: Vec<Desk> = (0..3).map(|_| desk()).collect();
        for (who, turn) in turns {
            let desk = &mut desks[who];
            match turn {
                Turn::Type(steps) => {
                    let delta = fit(desk.client.content(), &steps);
                    desk.client.local(&delta).unwrap();
                    desk.show(Some(delta));
                }
                Turn::Submit { refuse } => desk.submit(&mut server, who, refuse),
                Turn::Hear => desk.hear(&server, who),
                Turn::Trim => server.floor = server.log.len() as u64,
            }
        }
        for _ in 0..3 {
            for (who, desk) in desks.iter_mut().enumerate() {
                desk.submit(&mut server, who, false);
                desk.hear(&server, who);
            }
        }
        for (who, desk) in desks.iter_mut().enumerate() {
            desk.hear(&server, who);
            prop_assert!(desk.client.is_saved());
            prop_assert_eq!(desk.screen.digest(), server.content.digest());
        }
    }
}

#[test]
fn a_feed_that_does_not_continue_is_an_error() {
    let mut client = ClientDocument::empty(Kind::Text);
    let gap = ClientError::Gap {
        expected: Revision(1),
        got: Revision(2),
    };
    assert_eq!(client.receive(Revision(2), &Event::Passed), Err(gap));
    let own = Event::Own { seq: Seq(1) };
    assert_eq!(
        client.receive(Revision(1), &own),
        Err(ClientError::NotInflight { seq: Seq(1) })
    );
    let mut beyond = Delta::new();
    beyond.delete(1);
    let other = client.receive(Revision(1), &Event::Other(beyond));
    assert!(matches!(other, Err(ClientError::Diverged(_))));
    assert_eq!(client.receive(Revision(1), &Event::Passed), Ok(None));
    assert_eq!(client.rev(), Revision(1));
}
