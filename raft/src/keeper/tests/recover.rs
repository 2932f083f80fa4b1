//! Lists, manifests and pages of events that are damaged on one disk, and another replica's state in
//! their place.

use super::{mend::three, *};

/// What is damaged on a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    /// The list of the documents of a slot.
    List,
    Manifest,
    NoManifest,
    Events,
}

const ALL: [Damage; 4] = [
    Damage::List,
    Damage::Manifest,
    Damage::NoManifest,
    Damage::Events,
];

fn manifests(disk: &MemoryDisk, end: &str) -> Vec<PathBuf> {
    let of_folder = disk.paths().into_iter();
    let dir = PathBuf::from(DATA).join(MANIFESTS);
    let of_folder = of_folder.filter(|path| path.starts_with(&dir));
    of_folder
        .filter(|path| path.extension().is_some_and(|of| of == end))
        .collect()
}

impl World {
    /// Damages what the manifest on the disk needs.
    async fn hurt(&self, what: Damage) {
        let manifest = self.keeper.latest().unwrap();
        let file = &manifests(&self.disk, "manifest")[0];
        let (folder, place) = match what {
            Damage::List => (PAGES, manifest.buckets[&slot_of(&doc(2))].place),
            Damage::Events => (EVENTS, manifest.events.last().unwrap().place),
            Damage::Manifest => return self.disk.flip(file, 60),
            Damage::NoManifest => return self.disk.remove(file).await.unwrap(),
        };
        let path = format!("{DATA}/{folder}/{:08x}.pages", place.file);
        self.disk
            .flip(&PathBuf::from(path), place.offset as usize + 50);
    }

    fn reach(&self, others: &[(u64, &World)]) {
        let others = others.iter().map(|(n, of)| (NodeId(*n), of.keeper.clone()));
        *self.reach.0.lock() = others.collect();
    }

    fn is_empty(&self) -> bool {
        let core = self.core.lock();
        core.shard.slots().count() == 0 && core.last.is_none() && core.image().is_none()
    }
}

/// The first of three, started again from a disk that was damaged, and the two others, which went on.
async fn hurt(what: Damage) -> [World; 3] {
    let [one, mut two, mut three] = three().await;
    one.hurt(what).await;
    for world in [&mut two, &mut three] {
        world.apply(vec![edit(4, 2, "more ")]).await;
        world.keeper.take().await.unwrap();
    }
    let one = World::open(&one.disk).await;
    one.reach(&[(2, &two), (3, &three)]);
    [one, two, three]
}

#[tokio::test]
async fn what_is_damaged_is_set_aside_and_another_replicas_state_is_taken() {
    for what in ALL {
        let [mut one, mut two, _three] = hurt(what).await;
        let wrong = one.keeper.lacks().unwrap();
        let named = match what {
            Damage::List => "the list of documents of slot",
            Damage::Manifest => "0000000000000015.manifest does not read back",
            Damage::NoManifest => "the log begins behind it",
            Damage::Events => "the events of entries 0 to 21 in events",
        };
        assert!(wrong.contains(named), "{what:?}: {wrong}");
        // Nothing of it is a state, and none is kept.
        assert!(one.is_empty(), "{what:?}");
        let other = Arc::new(Tail::new(KeepOptions::default()));
        let in_same_files = one.keeper.uses.lock().await.all().clone();
        let in_same_files = in_same_files.keys().map(|file| (*file, 1)).collect();
        let space = &one.keeper.kept.space;
        space.join(GroupId(9), &in_same_files, other.clone());
        assert!(one.keeper.take().await.unwrap().is_none());
        assert!(!one.keeper.tail.is_due(), "{what:?}: again and again");
        assert!(
            !other.is_due(),
            "{what:?}: another group, which would say so in turn"
        );
        space.join(GroupId(9), &Uses::new(), other);
        let last = one.keeper.recover().await.unwrap();
        assert_eq!((last.index, *one.log.1.lock()), (22, Some(last)));
        assert_eq!(one.keeper.lacks(), None);
        assert_eq!(one.digest(), two.digest(), "{what:?}");
        let set_aside = manifests(&one.disk, "damaged").len();
        assert_eq!(set_aside, usize::from(what != Damage::NoManifest));
        // It is this disk's own now, and goes on as any other.
        one.reach(&[]);
        one.index = last.index;
        for world in [&mut one, &mut two] {
            world.apply(vec![edit(2, 2, "more ")]).await;
        }
        assert_eq!(
            (one.text(doc(2)), one.digest()),
            ("more of 2".into(), two.digest())
        );
        one.check_events().await;
        one.keeper.take().await.unwrap();
        one.disk.lose_power(1);
        let again = World::open(&one.disk).await;
        assert_eq!((again.keeper.lacks(), again.digest()), (None, two.digest()));
        again.check_events().await;
    }
}

#[tokio::test]
async fn of_a_damaged_list_no_page_is_fetched_that_is_here() {
    let [one, two, _three] = hurt(Damage::List).await;
    let before = one.keeper.kept.pages.files();
    one.keeper.recover().await.unwrap();
    let files = one.keeper.kept.pages.files();
    let written: u64 = files.values().sum::<u64>() - before.values().sum::<u64>();
    let all: u64 = two.keeper.kept.pages.files().values().sum();
    // One document that went on, and lists.
    assert!(written * 5 < all, "{written} bytes of {all}");
    let all: BTreeSet<DocId> = (0..40).map(doc).collect();
    one.keeper.warm(&all, ASK_ONCE).await.unwrap();
    assert_eq!(one.digest(), two.digest());
}

/// The log is still there from its first entry: the state comes of that, and nobody is asked.
#[tokio::test]
async fn a_state_is_made_again_where_the_log_is_whole() {
    for what in ALL {
        let [one, ..] = three().await;
        let before = one.digest();
        one.hurt(what).await;
        let kept = Kept::open(
            Arc::new(one.disk.clone()),
            Path::new(DATA),
            PageOptions::default(),
        );
        let kept = kept.await.unwrap();
        let loaded = kept
            .load(GROUP, KeepOptions::default(), true)
            .await
            .unwrap();
        assert!(!loaded.is_lacking() && loaded.state.is_none(), "{what:?}");
        assert_eq!(manifests(&one.disk, "manifest").len(), 0, "{what:?}");
        let mut again = World::open(&MemoryDisk::new()).await;
        let records = one.log.0.lock().clone();
        for record in records.into_values() {
            let entry = Entry::from_stored(record).unwrap();
            let entries = futures_util::stream::iter([Ok((entry, None))]);
            let mut machine = Machine::new(again.core.clone(), again.keeper.clone());
            machine.apply(entries).await.unwrap();
            again.index += 1;
        }
        assert_eq!(again.digest(), before);
    }
}

/// A disk after a loss of power: whether a state is there, which is then the whole of that one.
async fn is_taken(disk: &MemoryDisk, like: &World) -> bool {
    let disk = disk.copy();
    disk.lose_power(7);
    let again = World::open(&disk).await;
    if again.keeper.lacks().is_some() {
        assert!(again.is_empty());
        return false;
    }
    assert_eq!(again.digest(), like.digest());
    let all: BTreeSet<DocId> = (0..40).map(doc).collect();
    again.keeper.warm(&all, ASK_ONCE).await.unwrap();
    again.check_events().await;
    true
}

fn used(disk: &MemoryDisk) -> u64 {
    let paths = disk.paths().into_iter();
    let bytes = paths.map(|path| disk.contents(&path).unwrap().len() as u64);
    bytes.sum()
}

/// A link that ends, and a disk without room: the state is taken whole or not at all.
#[tokio::test(start_paused = true)]
async fn nothing_half_written_is_ever_taken() {
    for what in ALL {
        let [one, two, three] = hurt(what).await;
        let (mut cut, mut full) = (0, 0);
        for requests in 0.. {
            let again = World::open(&one.disk.copy()).await;
            again.reach(&[(2, &two), (3, &three)]);
            again.reach.1.store(requests, Relaxed);
            let taken = tokio::time::timeout(AGAIN / 2, again.keeper.recover()).await;
            assert_eq!(is_taken(&again.disk, &two).await, taken.is_ok(), "{what:?}");
            if taken.is_ok() {
                break;
            }
            cut += 1;
        }
        for room in (0..).step_by(499) {
            let again = World::open(&one.disk.copy()).await;
            again.reach(&[(2, &two), (3, &three)]);
            again.disk.set_capacity(Some(used(&one.disk) + room));
            let taken = tokio::time::timeout(AGAIN / 2, again.keeper.recover()).await;
            assert_eq!(is_taken(&again.disk, &two).await, taken.is_ok(), "{what:?}");
            if taken.is_ok() {
                break;
            }
            // Room is all that it lacked.
            again.disk.set_capacity(None);
            again.keeper.recover().await.unwrap();
            assert!(is_taken(&again.disk, &two).await, "{what:?}");
            full += 1;
        }
        assert!(cut >= 3 && full >= 3, "{what:?}: {cut} links, {full} disks");
    }
}

/// Each attempt goes on where the one before ended, and writes nothing twice.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_cut_again_and_again_fills_no_disk() {
    let [one, two, _three] = hurt(Damage::Manifest).await;
    one.reach(&[(2, &two)]);
    one.reach.1.store(30, Relaxed);
    let recovered = tokio::time::timeout(200 * AGAIN, one.keeper.recover()).await;
    assert!(recovered.is_err(), "it takes more than 30 requests a link");
    let once = used(&one.disk);
    let recovered = tokio::time::timeout(200 * AGAIN, one.keeper.recover()).await;
    assert!(recovered.is_err());
    assert!(used(&one.disk) < once + 20_000, "{once}");
}

#[tokio::test]
async fn a_disk_that_fails_ends_it_and_the_next_start_begins_anew() {
    let [one, two, three] = hurt(Damage::Manifest).await;
    one.disk.fail_syncs(true);
    let failed = one.keeper.recover().await;
    assert!(matches!(failed, Err(KeepError::Failed(_))), "{failed:?}");
    assert!(one.keeper.lacks().is_some() && one.is_empty());
    one.disk.fail_syncs(false);
    one.disk.lose_power(1);
    let again = World::open(&one.disk).await;
    again.reach(&[(2, &two), (3, &three)]);
    again.keeper.recover().await.unwrap();
    assert_eq!(again.digest(), two.digest());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_gives_it_nothing_and_is_not_waited_for() {
    let [one, two, three] = hurt(Damage::Manifest).await;
    two.hurt(Damage::List).await;
    let two = World::open(&two.disk).await;
    one.reach(&[(2, &two)]);
    // The third may come back.
    let waits = tokio::time::timeout(300 * AGAIN, one.keeper.recover()).await;
    assert!(waits.is_err(), "{waits:?}");
    let mut behind = World::open(&MemoryDisk::new()).await;
    behind.apply((0..40).map(create).collect()).await;
    behind.keeper.take().await.unwrap();
    one.reach(&[(2, &two), (3, &behind)]);
    // A state from before this log begins is of no use.
    let record = three.log.0.lock()[&22].clone();
    one.log.0.lock().insert(22, record);
    let waits = tokio::time::timeout(300 * AGAIN, one.keeper.recover()).await;
    assert!(waits.is_err() && one.is_empty(), "{waits:?}");
    one.reach(&[(2, &two), (3, &three)]);
    one.keeper.recover().await.unwrap();
    assert_eq!(one.digest(), three.digest());
    // All of them take themselves for node 1 here.
    two.reach(&[(2, &one), (3, &behind)]);
    two.keeper.recover().await.unwrap();
    assert_eq!(two.digest(), three.digest());
}

#[tokio::test]
async fn a_state_that_nobody_has_is_an_error_with_the_words() {
    let [one, two, three] = hurt(Damage::List).await;
    let mut others = Vec::new();
    for world in [two, three] {
        world.hurt(Damage::List).await;
        others.push(World::open(&world.disk).await);
    }
    one.reach(&[(2, &others[0]), (3, &others[1])]);
    let error = one.keeper.recover().await.unwrap_err().to_string();
    for part in [
        ".pages does not read back",
        "nobody else has a state: node 2 does not have it, node 3 does not have it",
        "codraft node replace",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(one.is_empty());
}

/// A state that was kept before another one's is taken from whoever has it, if the log goes on from it.
#[tokio::test]
async fn a_state_from_before_will_do_where_the_log_goes_on_from_there() {
    let [one, mut two, _three] = three().await;
    let mut one = one;
    for seq in 2..6 {
        one.apply(vec![edit(4, seq, "more ")]).await;
    }
    one.keeper.take().await.unwrap();
    one.hurt(Damage::List).await;
    let records = one.log.0.lock().split_off(&22);
    let mut again = World::open(&one.disk).await;
    *again.log.0.lock() = records;
    again.reach(&[(2, &two)]);
    let last = again.keeper.recover().await.unwrap();
    assert_eq!(last.index, 21);
    again.index = 21;
    for world in [&mut again, &mut two] {
        for seq in 2..6 {
            world.apply(vec![edit(4, seq, "more ")]).await;
        }
    }
    assert_eq!(again.digest(), two.digest());
    again.check_events().await;
}

/// Nobody has a document as this replica has it: it has to take a later state, without the page.
#[tokio::test]
async fn a_document_that_nobody_has_like_that_comes_with_a_later_state() {
    let [mut one, mut two, mut three] = three().await;
    for seq in 2..=4 {
        one.apply(vec![edit(2, seq, &format!("{seq} "))]).await;
    }
    one.keeper.take().await.unwrap();
    one.keeper.cool().await;
    for world in [&mut two, &mut three] {
        for seq in 2..=9 {
            world.apply(vec![edit(2, seq, &format!("{seq} "))]).await;
            world.keeper.take().await.unwrap();
        }
        world.log.0.lock().clear();
    }
    one.log.0.lock().clear();
    *one.keeper.earlier.lock() = None;
    one.damage(2);
    let docs = BTreeSet::from([doc(2)]);
    one.keeper.prepare(&docs).await.unwrap_err();
    let wrong = one.keeper.lacks().unwrap();
    assert!(wrong.contains("node 3 does not have it"), "{wrong}");
    // Meanwhile nobody takes a state of it for one.
    let body = v1::fetch::Body::Latest(0);
    let lent = one.keeper.fetch(body, &Borrowed::default()).await;
    assert_eq!(lent.unwrap().len(), 0);
    one.index = one.keeper.recover().await.unwrap().index;
    assert_eq!(one.digest(), two.digest());
    for world in [&mut one, &mut two] {
        world.apply(vec![edit(2, 10, "10 ")]).await;
    }
    assert_eq!(one.digest(), two.digest());
    assert!(one.text(doc(2)).starts_with("10 9 8 "));
    one.check_events().await;
}
