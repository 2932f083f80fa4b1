//! What every tier of presence must do.
#![allow(clippy::unwrap_used)]

use codraft_proto::{
    frame::Presence,
    ids::{ClientId, DocId, Revision},
};

use super::{Full, PEOPLE_MAX, Person, Presences, Standing};

/// Two documents that nobody else uses in this store.
const ONE: DocId = DocId([0xf1; 16]);
const OTHER: DocId = DocId([0xf2; 16]);

/// # Panics
/// Where it does something else. Nobody is left in it.
pub fn all(store: &dyn Presences) {
    store.clear();
    who_is_put_is_here(store);
    the_latest_is_told_once(store);
    who_was_not_seen_for_long_is_gone(store);
    a_document_has_so_many_people(store);
    store.clear();
    assert!(store.here(ONE).is_empty() && store.changes().is_empty());
}

fn person(n: u128, user: &str) -> Person {
    Person {
        client: ClientId(n.to_be_bytes()),
        user: user.into(),
    }
}

fn at(cursor: u32, last_seen_ms: u64) -> Standing {
    Standing {
        name: "Somebody".into(),
        rev: Revision(7),
        presence: Presence {
            cursor: Some(cursor),
            ..Presence::default()
        },
        last_seen_ms,
    }
}

fn who_is_put_is_here(store: &dyn Presences) {
    // A client's id is a name among its user's.
    let (ana, bo) = (person(1, "ana"), person(1, "bo"));
    store.put(ONE, &bo, at(2, 10)).unwrap();
    store.put(ONE, &ana, at(1, 10)).unwrap();
    store.put(OTHER, &ana, at(3, 10)).unwrap();
    let here = [(ana.clone(), at(1, 10)), (bo.clone(), at(2, 10))];
    assert_eq!(store.here(ONE), here);
    assert_eq!(store.here(OTHER), [(ana.clone(), at(3, 10))]);
    store.remove(ONE, &bo);
    store.remove(ONE, &person(9, "nobody"));
    assert_eq!(store.here(ONE), [(ana.clone(), at(1, 10))]);
    assert_eq!(store.here(OTHER), [(ana, at(3, 10))]);
    store.clear();
}

fn the_latest_is_told_once(store: &dyn Presences) {
    let (ana, bo) = (person(1, "ana"), person(2, "bo"));
    for cursor in 0..50 {
        store.put(ONE, &ana, at(cursor, 10)).unwrap();
    }
    store.put(ONE, &bo, at(1, 10)).unwrap();
    store.remove(ONE, &bo);
    let told = store.changes();
    assert_eq!(
        told.get(&ONE).map(Vec::as_slice),
        Some(&[(ana.clone(), Some(at(49, 10))), (bo.clone(), None)][..])
    );
    assert!(store.changes().is_empty(), "it was told");
    store.put(ONE, &ana, at(49, 20)).unwrap();
    store.remove(ONE, &bo);
    assert!(store.changes().is_empty(), "seen again is no change");
    assert_eq!(store.here(ONE), [(ana, at(49, 20))]);
    store.clear();
}

fn who_was_not_seen_for_long_is_gone(store: &dyn Presences) {
    let (ana, bo) = (person(1, "ana"), person(2, "bo"));
    store.put(ONE, &ana, at(1, 99)).unwrap();
    store.put(ONE, &bo, at(1, 99)).unwrap();
    store.put(ONE, &bo, at(1, 100)).unwrap();
    store.changes();
    store.expire(100);
    assert_eq!(store.here(ONE), [(bo, at(1, 100))]);
    assert_eq!(store.changes().remove(&ONE), Some(vec![(ana, None)]));
    store.clear();
}

fn a_document_has_so_many_people(store: &dyn Presences) {
    for n in 0..PEOPLE_MAX as u128 {
        store.put(ONE, &person(n, "ana"), at(0, 10)).unwrap();
    }
    let late = person(u128::MAX, "ana");
    assert_eq!(store.put(ONE, &late, at(0, 10)), Err(Full));
    assert_eq!(store.put(OTHER, &late, at(0, 10)), Ok(()));
    assert_eq!(store.put(ONE, &person(0, "ana"), at(5, 10)), Ok(()));
    store.remove(ONE, &person(0, "ana"));
    assert_eq!(store.put(ONE, &late, at(0, 10)), Ok(()));
    store.clear();
}
