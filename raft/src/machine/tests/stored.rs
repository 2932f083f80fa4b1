//! The stored form: one spelling, whatever is read goes on as what was stored, and nothing else
//! is read.

use std::{collections::BTreeSet, sync::Arc};

use codraft_ot::{Attributes, Limits, Value};
use codraft_proto::{ids::Revision, placement::slot_of};
use proptest::prelude::*;

use super::*;
use crate::{
    command::{Expire, Quarantine},
    machine::{AtRest, DOCUMENT_FORMAT, Page, StateError},
    pages::PagePlace,
};

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/vectors/document.json"
);

fn stored(document: &Document) -> Bytes {
    let mut out = Vec::new();
    document.encode(&mut out);
    out.into()
}

fn read(stored: &[u8]) -> Result<Document, StateError> {
    Document::decode(&Bytes::copy_from_slice(stored), &MachineLimits::default())
}

/// Puts every document of a shard away and takes it back.
pub(super) fn reload(shard: &mut Shard) {
    let limits = shard.limits.clone();
    let all: Vec<_> = shard.documents().cloned().collect();
    for document in all {
        let bytes = stored(&document);
        let back = Document::decode(&bytes, &limits).unwrap();
        assert_eq!(stored(&back), bytes);
        let (id, slot) = (document.id(), slot_of(&document.id()));
        let touched = shard.documents.get(slot, &id).unwrap().touched();
        let page = Page {
            place: PagePlace {
                file: 1,
                offset: 8,
                length: bytes.len() as u32,
            },
            digest: document.state_digest(),
        };
        let before = shard.digest();
        shard.keep_pages(slot, &[(id, touched, page)]);
        assert!(shard.cool(&id));
        assert_eq!(shard.cold(&BTreeSet::from([id])), [(id, touched, page)]);
        assert_eq!(shard.digest(), before);
        shard.warm(&id, touched, Arc::new(back));
        assert_eq!(shard.digest(), before);
        assert!(shard.cold(&BTreeSet::from([id])).is_empty());
    }
}

fn bold(text: &str, at: u32) -> Delta {
    let mut delta = Delta::new();
    delta
        .retain(at)
        .insert_with(text, Attributes::from([("bold".into(), Value::Bool(true))]));
    delta
}

/// One of everything: embeds, attributes, a late operation, refusals of each sort, roles that came
/// and went, a window that was cut, a base that expired.
fn full() -> World {
    let mut world = World::empty(small_window());
    let mut initial = Delta::new();
    initial.insert("hello 🦀\n");
    world.apply(create_with(Kind::Rich, ADA, Some(&initial)));
    world.grant(ADA, BOB, Some(Role::Editor));
    world.grant(ADA, EVE, Some(Role::Viewer));
    world.type_until(1, 8);
    world.ts_ms += 70;
    let mut image = Delta::new();
    image.retain(3).embed(
        Value::Object([("image".into(), Value::String("a.png".into()))].into()),
        Attributes::from([("alt".into(), Value::Number(1.5))]),
    );
    world.edit(BOB, 2, 1, 8, &image);
    world.edit(BOB, 3, 7, 7, &bold("late", 1));
    assert_eq!(
        refused(&world.edit(EVE, 4, 1, 9, &insert(0, "x"))),
        Some(Code::Forbidden)
    );
    assert_eq!(
        refused(&world.edit(BOB, 3, 9, 9, &insert(0, "x"))),
        Some(Code::SeqGap)
    );
    world.grant(ADA, EVE, None);
    super::comments::add_some(&mut world);
    world.apply(Command::Expire(Expire {
        doc: DOC,
        below: Revision(world.head() - 1),
    }));
    world.apply(Command::Quarantine(Quarantine { doc: DOC, on: true }));
    assert!(world.doc().floor() > Revision(0) && world.doc().oldest_base() > world.doc().floor());
    world
}

/// Pinned: pages hold these bytes, and replicas compare their hash. After an intended change
/// `CODRAFT_WRITE_VECTORS=1 cargo test -p codraft-raft golden` writes them anew.
#[test]
fn machine_golden_document() {
    let world = full();
    let bytes = stored(world.doc());
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let now = serde_json::json!({
        "about": "A stored document and its state digest: raft/src/machine/stored.rs",
        "stored_hex": hex(&bytes),
        "digest": hex(&world.doc().state_digest()),
    });
    let now = serde_json::to_string_pretty(&now).unwrap() + "\n";
    if std::env::var_os("CODRAFT_WRITE_VECTORS").is_some() {
        #[allow(clippy::disallowed_methods)] // the writer of the vectors
        std::fs::write(VECTORS, &now).unwrap();
    }
    assert_eq!(std::fs::read_to_string(VECTORS).unwrap(), now);
}

#[test]
fn machine_a_document_reads_back_and_its_digest_is_of_what_is_stored() {
    let mut world = full();
    let bytes = stored(world.doc());
    assert_eq!(world.doc().state_digest(), *blake3::hash(&bytes).as_bytes());
    let before = world.shard.digest();
    reload(&mut world.shard);
    assert_eq!(world.shard.digest(), before);
    // Kept, but not past a change, also one that makes no event.
    world.apply(Command::Quarantine(Quarantine {
        doc: DOC,
        on: false,
    }));
    let quarantined = before;
    let before = world.shard.digest();
    assert_ne!(before, quarantined);
    let head = world.head();
    world.edit(EVE, 4, 2, head, &insert(0, "x"));
    assert_ne!(world.shard.digest(), before);
    assert_eq!(
        world.doc().state_digest(),
        *blake3::hash(&stored(world.doc())).as_bytes()
    );
}

#[test]
fn machine_at_rest_a_document_is_what_it_is_in_memory() {
    let world = full();
    let (document, bytes) = (world.doc(), stored(world.doc()));
    let at_rest = AtRest::of(&bytes).unwrap();
    assert_eq!(
        (at_rest.rev, at_rest.hash),
        (document.rev(), document.hash())
    );
    let mut content = Vec::new();
    document.content().encode(&mut content);
    assert_eq!(at_rest.content, content);
    for (user, client) in [(BOB, 3), (BOB, 2), (EVE, 4), (ADA, 99)] {
        let (user, client) = (user.into(), id(client));
        assert_eq!(at_rest.acked(&user, client), document.acked(&user, client));
    }
    assert!(at_rest.acked(&BOB.into(), id(3)).is_some());
    for end in 0..bytes.len() {
        assert!(AtRest::of(&bytes.slice(..end)).is_err(), "{end}");
    }
}

#[test]
fn machine_what_a_later_version_stored_is_refused() {
    let bytes = stored(full().doc());
    let mut other = bytes.to_vec();
    other[0] += 1;
    let refused = StateError::Format(DOCUMENT_FORMAT + 1);
    assert_eq!(read(&other).unwrap_err(), refused);
    let mut more = bytes.to_vec();
    more.extend([99, 1, 0, 0, 0, 9]);
    assert_eq!(read(&more).unwrap_err(), StateError::LaterSection(99));
    let mut first = bytes.to_vec();
    first[1] = 9;
    let (found, expected) = (9, 1);
    assert_eq!(
        read(&first).unwrap_err(),
        StateError::Section { found, expected }
    );
}

#[test]
fn machine_a_document_that_is_cut_off_is_refused() {
    let bytes = stored(full().doc());
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "cut at {end}");
    }
}

/// Whatever is read has one spelling: no bytes give a document whose digest is another than theirs.
fn is_refused_or_its_own_spelling(bytes: &[u8]) {
    if let Ok(document) = read(bytes) {
        assert_eq!(stored(&document), bytes);
    }
}

#[test]
fn machine_no_single_byte_makes_another_spelling() {
    let bytes = stored(full().doc());
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= change;
            is_refused_or_its_own_spelling(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn machine_hostile_documents_are_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6)
    ) {
        let mut bytes = stored(full().doc()).to_vec();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        is_refused_or_its_own_spelling(&bytes);
    }
}

/// How a document came to be must not decide what becomes of it: a replica that read it may not
/// answer otherwise than the one that made it.
#[test]
fn machine_a_rich_document_at_its_limit_goes_on_as_the_one_that_was_stored() {
    let limits = MachineLimits {
        ot: Limits {
            rich_bytes: 3_000,
            ..Limits::default()
        },
        ..MachineLimits::default()
    };
    let mut worlds = [
        World::with_kind(limits.clone(), Kind::Rich),
        World::with_kind(limits, Kind::Rich),
    ];
    let (mut random, mut too_rich) = (7u64, 0);
    for seq in 1..=1_500 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let units = worlds[0].doc().content().units();
        let at = (random >> 33) as u32 % units;
        let number = (random >> 20) % 3;
        let set = Attributes::from([("size".into(), Value::Number(number as f64))]);
        let mut delta = Delta::new();
        delta.retain(at);
        match (random >> 50) % 4 {
            0 if at + 1 < units => drop(delta.retain_with(1, set)),
            1 if at + 1 < units => drop(delta.delete(1)),
            _ => drop(delta.insert_with("x", set)),
        }
        let outcomes = worlds.each_mut().map(|world| {
            let head = world.head();
            world.edit(ADA, 1, seq, head, &delta)
        });
        assert_eq!(outcomes[0], outcomes[1], "operation {seq}");
        too_rich += u32::from(refused(&outcomes[0]).is_some());
        if seq % 7 == 0 {
            reload(&mut worlds[1].shard);
            assert_eq!(worlds[0].shard.digest(), worlds[1].shard.digest());
        }
    }
    assert!(too_rich > 50, "{too_rich}");
}

#[test]
fn machine_a_document_is_copied_only_while_it_is_shared() {
    let mut world = World::new();
    world.type_until(1, 200);
    let of = |world: &World| world.shard.document(&DOC).present().unwrap().clone();
    let address = Arc::as_ptr(&of(&world));
    world.type_until(1, 300);
    assert_eq!(Arc::as_ptr(&of(&world)), address, "nobody shares it");

    let shared = of(&world);
    let (rev, digest) = (shared.rev(), stored(&shared));
    world.type_until(1, 310);
    assert_ne!(Arc::as_ptr(&of(&world)), address);
    assert_eq!((shared.rev(), stored(&shared)), (rev, digest));
    let address = Arc::as_ptr(&of(&world));
    world.type_until(1, 320);
    assert_eq!(Arc::as_ptr(&of(&world)), address, "once");
}

#[test]
fn machine_documents_are_in_the_order_of_their_slots() {
    let mut world = World::empty(MachineLimits::default());
    for n in 0..40 {
        let Command::Create(mut create) = create(Kind::Text, ADA) else {
            unreachable!()
        };
        create.doc = DocId([n; 16]);
        world.apply(Command::Create(create));
    }
    let order: Vec<_> = world
        .shard
        .documents()
        .map(|d| (slot_of(&d.id()), d.id()))
        .collect();
    assert!(order.is_sorted() && order.len() == 40);
    // And told from any of them on.
    let slots = world.shard.slots();
    let after = |place| slots.after(place).map(|(slot, doc, _)| (slot, *doc));
    assert!(after(None).eq(order.iter().copied()));
    for (nth, place) in order.iter().enumerate() {
        assert!(after(Some(*place)).eq(order[nth + 1..].iter().copied()));
    }
}
