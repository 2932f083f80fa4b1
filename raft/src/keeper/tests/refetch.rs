//! Pages of the op log that are damaged on one disk while its group runs, and whole on others.

use super::{mend::three, *};
use crate::{machine::Event, oplog::EventPage};

/// Three replicas that applied the same, cut their pages at other entries, and have no document in
/// memory.
async fn apart() -> [World; 3] {
    let mut worlds = three().await;
    for seq in 2..=13 {
        for (world, every) in worlds.iter_mut().zip([4, 3, 5]) {
            world
                .apply(vec![edit(2, seq, "more "), edit(4, seq, "on ")])
                .await;
            if seq % every == 0 {
                world.keeper.take().await.unwrap();
            }
        }
    }
    for world in &worlds {
        world.keeper.take().await.unwrap();
        world.keeper.cool().await;
    }
    worlds
}

impl World {
    async fn listed_events(&self) -> Vec<EventPage> {
        self.keeper.events.pages().await.listed().to_vec()
    }

    /// Changes a byte of an event page; the file that it is in.
    async fn hurt_events(&self, nth: usize) -> PathBuf {
        let place = self.listed_events().await[nth].place;
        let file = PathBuf::from(format!("{DATA}/{EVENTS}/{:08x}.pages", place.file));
        self.disk.flip(&file, place.offset as usize + 60);
        file
    }

    /// All events of a document, as its history is told.
    async fn told(&self, n: u8) -> Result<Vec<Arc<Event>>, KeepError> {
        let all = (Revision(0), Revision(u64::MAX));
        self.keeper.unarchived(doc(n), all.0, all.1).await
    }

    /// What is found to be damaged by now is had again, if anybody has it.
    async fn mend_found(&self) -> Result<(), KeepError> {
        let found = self.keeper.kept.events.damaged().borrow().clone();
        self.keeper.empty(&found).await
    }
}

#[tokio::test]
async fn a_damaged_page_of_events_is_had_again_and_the_next_manifest_lists_another_one() {
    for nth in 0..4 {
        let [mut one, two, _three] = apart().await;
        let before = one.listed_events().await;
        assert_eq!(before.len(), 5);
        let (file, expected) = (one.hurt_events(nth).await, two.told(2).await.unwrap());
        assert_eq!(expected.len(), 14);
        let error = one.told(2).await.unwrap_err().to_string();
        assert!(error.contains("does not read back"), "{error}");
        one.mend_found().await.unwrap();
        assert_eq!(one.keeper.mended(), 1);
        assert_eq!(one.told(2).await.unwrap(), expected);
        let after = one.listed_events().await;
        let range = |page: &EventPage| (page.from, page.to);
        assert!(after.iter().map(range).eq(before.iter().map(range)));
        // What else is in the file moves with it.
        let left = before[nth].place.file;
        assert!(after.iter().all(|page| page.place.file != left));
        one.check_events().await;
        // Due at once, though no entry came; then nothing of the file is needed.
        assert!(one.keeper.tail.is_manifest_due());
        one.keeper.take().await.unwrap();
        assert_eq!(
            one.keeper.latest().unwrap().events,
            one.listed_events().await
        );
        let paths = one.disk.paths();
        assert!(!paths.contains(&file) && paths.contains(&file.with_extension("damaged")));
        // It is this disk's own now.
        one.reach.0.lock().clear();
        one.apply(vec![edit(2, 14, "more ")]).await;
        one.keeper.take().await.unwrap();
        one.disk.lose_power(1);
        let again = World::open(&one.disk).await;
        assert_eq!((again.keeper.lacks(), again.digest()), (None, one.digest()));
        again.check_events().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_has_are_named_and_asked_for_again_until_somebody_has_them() {
    let [one, two, three] = apart().await;
    one.hurt_events(2).await;
    one.told(2).await.unwrap_err();
    two.hurt_events(2).await;
    three.keeper.lack(doc(9), "another reason".into());
    let error = one.mend_found().await.unwrap_err().to_string();
    for part in [
        "the events of entries 24 to 28 in events: the page at byte",
        "no other node has them now: node 2: the other replica: the page at byte",
        "node 3 does not have it",
        "bring back",
    ] {
        assert!(error.contains(part), "{error}");
    }
    one.reach.0.lock().remove(&NodeId(2));
    let error = one.mend_found().await.unwrap_err().to_string();
    assert!(
        error.contains("node 2: the other replica: no such node"),
        "{error}"
    );
    one.told(2).await.unwrap_err();
    assert_eq!(one.keeper.mended(), 0);
    // What is asked again finds who came back.
    let back = async {
        tokio::time::sleep(20 * AGAIN).await;
        *three.keeper.left.lock() = None;
        while one.keeper.mended() == 0 {
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = one.keeper.mend_events() => panic!("it ended"),
        () = back => {}
    }
    assert_eq!(one.told(2).await.unwrap().len(), 14);
}

/// What the other sends is not believed: it has the same revisions, and another text since one of them.
#[tokio::test]
async fn other_events_are_not_taken_for_those() {
    let mut odd = filled(&MemoryDisk::new()).await;
    for seq in 2..=13 {
        let word = if seq == 6 { "less " } else { "more " };
        let edits = vec![edit(2, seq, word), edit(4, seq, "on ")];
        odd.apply(edits).await;
    }
    odd.keeper.take().await.unwrap();
    // What differs is followed by what is here, lies between it, or is the head.
    for nth in 2..5 {
        let [one, two, _three] = apart().await;
        *one.reach.0.lock() = [(NodeId(2), odd.keeper.clone())].into();
        one.hurt_events(nth).await;
        one.told(2).await.unwrap_err();
        let error = one.mend_found().await.unwrap_err().to_string();
        let wrong = "node 2: what came is not what was asked for: other events";
        assert!(error.contains(wrong), "{error}");
        assert_eq!(one.keeper.mended(), 0);
        *one.reach.0.lock() = [(NodeId(2), two.keeper.clone())].into();
        one.mend_found().await.unwrap();
        assert_eq!(one.told(2).await.unwrap(), two.told(2).await.unwrap());
    }
}
