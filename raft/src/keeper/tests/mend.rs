//! Pages that are damaged on one disk, and whole on another.

use openraft::Membership;

use super::*;
use crate::types::StoredMembership;

/// Three replicas that applied and kept the same, with nothing in memory; node 1 comes first.
pub(super) async fn three() -> [World; 3] {
    let mut worlds = Vec::new();
    for _ in 0..3 {
        let world = filled(&MemoryDisk::new()).await;
        world.keeper.take().await.unwrap();
        world.keeper.cool().await;
        worlds.push(world);
    }
    let worlds: [World; 3] = worlds.try_into().ok().unwrap();
    join(&worlds);
    worlds
}

/// The first reaches the others.
fn join([one, two, three]: &[World; 3]) {
    let voters = [BTreeSet::from([1, 2, 3])];
    let membership = Membership::new(voters.to_vec(), BTreeSet::from([1, 2, 3]));
    one.core.lock().membership = StoredMembership::new(None, membership.unwrap());
    let others = [(NodeId(2), &two.keeper), (NodeId(3), &three.keeper)];
    *one.reach.0.lock() = others.map(|(node, keeper)| (node, keeper.clone())).into();
}

impl World {
    fn page(&self, n: u8) -> Page {
        let core = self.core.lock();
        core.shard.held(&doc(n)).unwrap().page().unwrap()
    }

    /// Changes a byte of the page of a document, which nobody has read yet.
    pub(super) fn damage(&self, n: u8) -> String {
        let place = self.page(n).place;
        let file = format!("{:08x}.pages", place.file);
        let path = PathBuf::from(format!("{DATA}/{PAGES}/{file}"));
        self.disk.flip(&path, place.offset as usize + 50);
        file
    }

    async fn open_document(&self, n: u8) -> Result<(), KeepError> {
        let docs = BTreeSet::from([doc(n)]);
        self.keeper.warm(&docs, ASK_ONCE).await
    }

    /// Where the manifest on the disk lists a document.
    async fn listed(&self, n: u8) -> Page {
        let manifest = self.keeper.latest().unwrap();
        let listed = manifest.documents(&self.keeper.kept.pages).await.unwrap();
        let held = listed.get(slot_of(&doc(n)), &doc(n)).unwrap();
        held.page().unwrap()
    }
}

#[tokio::test]
async fn a_damaged_page_is_taken_again_and_the_next_manifest_lists_another_one() {
    let [mut one, mut two, _three] = three().await;
    let (before, listed) = (one.digest(), one.listed(2).await);
    one.damage(2);
    one.open_document(2).await.unwrap();
    assert_eq!((one.text(doc(2)), one.digest()), ("of 2".into(), before));
    assert_eq!(one.keeper.mended(), 1);
    // Due at once, though no entry came and the slot was not touched.
    assert!(one.keeper.tail.is_manifest_due());
    let first = one.keeper.latest().unwrap();
    let second = one.keeper.take().await.unwrap().unwrap();
    assert_eq!(first.hash(), second.hash());
    let mended = one.listed(2).await;
    assert_ne!(mended.place, listed.place);
    assert_eq!(mended.digest, listed.digest);
    // That is enough, once what is sparse by it was moved too.
    one.keeper.take().await.unwrap();
    let last = one.keeper.latest().unwrap();
    let again = one.keeper.take().await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&last, &again));
    assert!(one.keeper.cool().await);
    // It is this disk's own now.
    one.reach.0.lock().clear();
    one.apply(vec![edit(2, 2, "more ")]).await;
    two.apply(vec![edit(2, 2, "more ")]).await;
    assert_eq!(one.text(doc(2)), "more of 2");
    assert_eq!(one.digest(), two.digest());
    one.disk.lose_power(1);
    let again = World::open(&one.disk).await;
    assert_eq!(again.digest(), before);
    again.open_document(2).await.unwrap();
}

/// Where an entry waits for it the others have applied that entry by then, most often.
#[tokio::test]
async fn others_that_went_on_have_it_in_what_they_kept() {
    let [mut one, mut two, mut three] = three().await;
    for world in [&mut two, &mut three] {
        world.apply(vec![edit(2, 2, "more ")]).await;
    }
    // One of them has let go of it.
    two.keeper.take().await.unwrap();
    one.damage(2);
    one.apply(vec![edit(2, 2, "more ")]).await;
    assert_eq!(one.text(doc(2)), "more of 2");
    assert_eq!(one.digest(), two.digest());
    assert_eq!(one.keeper.mended(), 1);
}

/// Nobody else has a page of it as it was between two manifests: it is made again of one from before.
#[tokio::test]
async fn others_make_again_what_they_kept_before_and_after() {
    for (kept_later, until) in [(false, 5), (true, 5), (true, 8)] {
        let [mut one, mut two, mut three] = three().await;
        let more = |seq| vec![edit(2, seq, &format!("{seq} ")), edit(4, seq, "x")];
        for seq in 2..=4 {
            one.apply(more(seq)).await;
        }
        one.keeper.take().await.unwrap();
        one.keeper.cool().await;
        for world in [&mut two, &mut three] {
            for seq in 2..=until {
                world.apply(more(seq)).await;
            }
            if kept_later {
                world.keeper.take().await.unwrap();
                world.keeper.cool().await;
            }
        }
        one.damage(2);
        one.apply(more(5)).await;
        assert_eq!(one.text(doc(2)), "5 4 3 2 of 2");
        assert_eq!(one.keeper.mended(), 1);
        for seq in 6..=until {
            one.apply(more(seq)).await;
        }
        assert_eq!(one.digest(), two.digest());
        // Where the log does not reach back either it is gone.
        for world in [&one, &two, &three] {
            world.log.0.lock().clear();
        }
        one.keeper.take().await.unwrap();
        one.keeper.cool().await;
        for world in [&mut two, &mut three] {
            world.apply(more(until + 1)).await;
            world.keeper.take().await.unwrap();
            world.apply(more(until + 2)).await;
            world.keeper.take().await.unwrap();
        }
        one.damage(2);
        let error = one.open_document(2).await.unwrap_err().to_string();
        assert!(error.contains("node 3 does not have it"), "{error}");
    }
}

/// As with a replica that lags: the others went on, and keep nothing of then.
#[tokio::test]
async fn a_page_is_made_again_of_what_is_here_where_nobody_has_it() {
    let [mut one, _two, _three] = three().await;
    one.reach.0.lock().clear();
    for seq in 2..=4 {
        one.apply(vec![edit(2, seq, &format!("{seq} "))]).await;
    }
    one.keeper.take().await.unwrap();
    one.keeper.cool().await;
    one.damage(2);
    one.open_document(2).await.unwrap();
    assert_eq!(one.text(doc(2)), "4 3 2 of 2");
    assert_eq!(one.keeper.mended(), 1);
}

#[tokio::test]
async fn a_page_that_nobody_has_is_an_error_that_names_it() {
    let [one, two, three] = three().await;
    let file = one.damage(2);
    two.damage(2);
    three.damage(2);
    let docs = BTreeSet::from([doc(2)]);
    // Nobody waits for what will never be there.
    let error = one.keeper.prepare(&docs).await.unwrap_err().to_string();
    for part in [
        &file,
        &doc(2).to_string(),
        "does not read back",
        "node 2 does not have it, node 3 does not have it",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(one.keeper.mended(), 0);
    assert!(one.core.lock().shard.is_cold(&doc(2)));
}

#[tokio::test(start_paused = true)]
async fn who_applies_waits_for_nodes_that_are_away_and_who_reads_does_not() {
    let worlds = three().await;
    let [one, ..] = &worlds;
    one.reach.0.lock().clear();
    one.damage(2);
    let error = one.open_document(2).await.unwrap_err().to_string();
    assert!(error.contains("node 2: no such node"), "{error}");
    let docs = BTreeSet::from([doc(2)]);
    let prepared = one.keeper.prepare(&docs);
    let back = async {
        tokio::time::sleep(20 * AGAIN).await;
        join(&worlds);
    };
    let (prepared, ()) = tokio::join!(prepared, back);
    prepared.unwrap();
    assert_eq!(one.text(doc(2)), "of 2");
}

/// What the other sends is not believed.
#[tokio::test]
async fn another_page_is_not_taken_for_that_one() {
    let [one, two, three] = three().await;
    one.damage(2);
    let page = one.page(2);
    let key = one.keeper.key(
        doc(2),
        one.core.lock().shard.held(&doc(2)).unwrap().touched(),
    );
    let wrong = Page {
        digest: [7; 32],
        ..page
    };
    let error = one.keeper.stored(&key, wrong).await.unwrap_err();
    assert!(error.to_string().contains("does not have it"), "{error}");
    assert_eq!(two.digest(), three.digest());
}

#[tokio::test]
async fn a_damaged_page_holds_up_nobody_who_moves_or_fetches_it() {
    let [one, _two, _three] = three().await;
    one.damage(2);
    let page = one.page(2);
    let held = one.core.lock().shard.held(&doc(2)).cloned().unwrap();
    let reference = v1::PageReference {
        slot: slot_of(&doc(2)).0.into(),
        doc: Bytes::copy_from_slice(&doc(2).0),
        index: held.touched(),
        file: page.place.file,
        offset: page.place.offset,
        length: page.place.length,
    };
    let pages = vec![reference];
    let body = v1::fetch::Body::Pages(v1::FetchPages {
        events: false,
        pages,
    });
    let fetched = one.keeper.fetch(body, &Borrowed::default()).await.unwrap();
    assert_eq!(*blake3::hash(&fetched[0]).as_bytes(), page.digest);
    let documents = one.core.lock().shard.slots().into_slots();
    let (slot, documents) = documents
        .into_iter()
        .find(|(s, _)| *s == slot_of(&doc(2)))
        .unwrap();
    let moves = BTreeSet::from([page.place.file]);
    let slots = vec![(slot, documents)];
    let written = one.keeper.write_slots(slots, &moves).await.unwrap();
    let mut pages = written[0].pages.iter();
    let (.., moved) = pages.find(|(of, ..)| *of == doc(2)).unwrap();
    assert_eq!(moved.digest, page.digest);
}
