//! The routers of the cluster, as its nodes tell, and at which of them the sockets of a document
//! meet: there each event is taken from a node once, and encoded once, for all of them.

use std::collections::{BTreeMap, BTreeSet};

use codraft_proto::{ids::DocId, link::ADDRESS_BYTES_MAX, placement};
use parking_lot::Mutex;

use crate::{ids::LinkId, origins::origin_fault};

/// Routers have to be the same ones for so long before sockets are sent from one to another: one
/// that is started again is there again by then.
const STEADY_MS: u64 = 2_000;

pub struct Routers {
    /// Where clients reach this one; empty: none may be sent here.
    own: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: BTreeMap<LinkId, Vec<String>>,
    /// What any node tells, and this one.
    all: BTreeSet<String>,
    /// When sockets that belong elsewhere by now are to be sent there.
    move_at_ms: Option<u64>,
}

impl Routers {
    /// `own`: an address without a fault, or empty.
    pub fn new(own: String) -> Self {
        let mut state = State::default();
        state
            .all
            .extend(Some(own.clone()).filter(|own| !own.is_empty()));
        let state = Mutex::new(state);
        Self { own, state }
    }

    pub fn own(&self) -> &str {
        &self.own
    }

    pub fn all(&self) -> BTreeSet<String> {
        self.state.lock().all.clone()
    }

    /// What the node at the other end of a link tells; `None` when the link is gone, and what it
    /// told with it.
    pub fn told(&self, link: LinkId, addresses: Option<Vec<String>>, now_ms: u64) {
        let mut state = self.state.lock();
        match addresses {
            Some(mut addresses) => {
                addresses.retain(|address| address_fault(address).is_none());
                state.told.insert(link, addresses);
            }
            None => drop(state.told.remove(&link)),
        }
        let told = state.told.values().flatten().chain([&self.own]);
        let all: BTreeSet<_> = told.filter(|a| !a.is_empty()).cloned().collect();
        if all != state.all {
            tracing::info!(routers = ?all, "routers that clients are sent to");
            state.all = all;
            state.move_at_ms = Some(now_ms + STEADY_MS);
        }
    }

    /// Where to open a socket of the document, the best first, without those that the client could
    /// not reach. Where that leaves none it is this one, which it has reached. None at all: no
    /// router has an address, and the client comes back by the way that it came.
    pub fn of(&self, doc: DocId, not: &[&str]) -> Vec<String> {
        let state = self.state.lock();
        let reached = |address: &&str| !not.contains(address);
        let known = || state.all.iter().map(String::as_str);
        let mut of = placement::routers(&doc, known().filter(reached));
        if of.is_empty() {
            of = match self.own.is_empty() {
                true => placement::routers(&doc, known()),
                false => vec![&self.own],
            };
        }
        of.into_iter().map(str::to_owned).collect()
    }

    /// Whether the sockets of a document are to meet at another router.
    pub fn is_elsewhere(&self, doc: DocId) -> bool {
        let state = self.state.lock();
        let first = placement::routers(&doc, state.all.iter().map(String::as_str));
        !self.own.is_empty() && first.first().is_some_and(|first| *first != self.own)
    }

    /// Whether it is time to look for sockets that belong elsewhere.
    pub fn move_is_due(&self, now_ms: u64) -> bool {
        let state = self.state.lock();
        state.move_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// All were sent on that were to be by `now_ms`.
    pub fn moved(&self, now_ms: u64) {
        let mut state = self.state.lock();
        state.move_at_ms = state.move_at_ms.filter(|at_ms| *at_ms > now_ms);
    }
}

/// What is wrong with the address of a router, as an origin that browsers connect to.
pub fn address_fault(address: &str) -> Option<String> {
    if address.len() > ADDRESS_BYTES_MAX {
        return Some(format!("it has more than {ADDRESS_BYTES_MAX} bytes"));
    }
    if !address.starts_with("http://") && !address.starts_with("https://") {
        return Some("it starts with http:// or https://".to_owned());
    }
    // They part lists: of addresses, and of what the page may connect to.
    if address.contains([',', ';', '\'']) {
        return Some("it is scheme://host or scheme://host:port".to_owned());
    }
    origin_fault(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "http://a.test";
    const B: &str = "https://b.test:8443";
    const NODES: (LinkId, LinkId) = (LinkId(1), LinkId(2));

    fn list(addresses: &[&str]) -> Option<Vec<String>> {
        Some(addresses.iter().map(|a| (*a).to_owned()).collect())
    }

    fn doc(n: u8) -> DocId {
        DocId([n; 16])
    }

    #[test]
    fn what_any_node_tells_counts_until_its_link_is_gone() {
        let routers = Routers::new(A.to_owned());
        assert_eq!(routers.of(doc(1), &[]), [A]);
        routers.told(NODES.0, list(&[A]), 0);
        routers.told(NODES.1, list(&[A, B]), 0);
        assert!(routers.all().contains(B));
        routers.told(NODES.1, None, 0);
        assert!(!routers.all().contains(B));
        routers.told(NODES.0, list(&[]), 0);
        assert_eq!(routers.of(doc(1), &[]), [A], "it knows itself");
    }

    #[test]
    fn all_routers_name_the_same_one_and_it_has_its_share() {
        let (a, b, nowhere) = (A.to_owned(), B.to_owned(), String::new());
        let routers = [a, b, nowhere].map(Routers::new);
        routers
            .iter()
            .for_each(|r| r.told(NODES.0, list(&[A, B]), 0));
        let [a, b, nowhere] = &routers;
        let mut of_a = 0;
        for n in 0..=u8::MAX {
            let named = a.of(doc(n), &[]);
            assert_eq!(
                (&named, &named),
                (&b.of(doc(n), &[]), &nowhere.of(doc(n), &[]))
            );
            assert_eq!(a.is_elsewhere(doc(n)), named[0] == B);
            assert_ne!(a.is_elsewhere(doc(n)), b.is_elsewhere(doc(n)));
            assert!(!nowhere.is_elsewhere(doc(n)), "whoever is here came here");
            of_a += usize::from(named[0] == A);
        }
        assert!((64..=192).contains(&of_a), "{of_a} of 256");
    }

    #[test]
    fn who_cannot_reach_one_is_sent_to_the_next_and_in_the_end_stays() {
        let routers = Routers::new(A.to_owned());
        routers.told(NODES.0, list(&[A, B]), 0);
        for n in 0..8 {
            assert_eq!(routers.of(doc(n), &[A]), [B]);
            assert_eq!(routers.of(doc(n), &[A, B]), [A]);
        }
        let nowhere = Routers::new(String::new());
        assert!(nowhere.of(doc(1), &[]).is_empty());
        nowhere.told(NODES.0, list(&[B]), 0);
        assert_eq!(nowhere.of(doc(1), &[B]), [B]);
    }

    #[test]
    fn sockets_are_sent_on_once_the_routers_are_steady() {
        let routers = Routers::new(A.to_owned());
        assert!(!routers.move_is_due(u64::MAX));
        routers.told(NODES.0, list(&[A, B]), 1_000);
        assert!(!routers.move_is_due(1_000 + STEADY_MS - 1));
        // It went, and came again.
        routers.told(NODES.0, list(&[A]), 1_500);
        routers.told(NODES.0, list(&[A, B]), 1_600);
        routers.told(NODES.1, list(&[A, B]), 2_000);
        assert!(!routers.move_is_due(1_600 + STEADY_MS - 1));
        assert!(routers.move_is_due(1_600 + STEADY_MS));
        routers.moved(1_600 + STEADY_MS);
        assert!(!routers.move_is_due(u64::MAX));
    }

    #[test]
    fn an_address_is_an_origin_that_browsers_connect_to() {
        for good in [A, B, "http://[::1]:8080"] {
            assert_eq!(address_fault(good), None);
        }
        let long = format!("http://{}.test", "a".repeat(ADDRESS_BYTES_MAX));
        for bad in [
            "",
            "a.test",
            "http://a/b",
            "capacitor://a",
            "http://a;b",
            "http://A",
            &long,
        ] {
            assert!(address_fault(bad).is_some(), "{bad}");
        }
        let routers = Routers::new(A.to_owned());
        routers.told(NODES.0, list(&["javascript:x", "http://b.test/x"]), 0);
        assert_eq!(routers.all(), BTreeSet::from([A.to_owned()]));
    }
}
