use codraft_proto::ids::{Role, UserId};

use super::*;
use crate::{
    command::Grant,
    users::{read_users, users_key},
};

const USERS: [&str; 4] = ["ada", "bo", "cy", "dee"];

fn id(n: u32) -> DocId {
    let mut id = [0; 16];
    // Over all slots, and in no order.
    id[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    DocId(id)
}

fn create_of(n: u32, owner: &str) -> Command {
    Command::Create(Create {
        doc: id(n),
        kind: Kind::Text,
        algebra: Algebra::Delta1,
        title: format!("document {n}").into(),
        owner: owner.into(),
        initial: None,
    })
}

fn grant(n: u32, by: &str, user: &str, role: Option<Role>) -> Command {
    Command::Grant(Grant {
        doc: id(n),
        by: by.into(),
        user: user.into(),
        role,
    })
}

impl World {
    /// Every page of a user's list is the one that all documents, asked one by one, make.
    async fn check_lists(&self) {
        for user in USERS {
            let user: UserId = user.into();
            let slots = self.core.lock().shard.slots();
            let theirs = slots
                .iter()
                .filter(|(_, _, held)| held.kept_role(&user).is_some());
            let mut right: Vec<DocId> = theirs.map(|(_, doc, _)| *doc).collect();
            right.sort_unstable();
            let (mut told, mut after) = (Vec::new(), None);
            loop {
                let found = self.keeper.of_user(&user, after, 700, &|_| true).await;
                let (page, more) = (found.documents, found.upto.is_some());
                assert!(page.len() == 700 || !more, "a page is full, or the last");
                assert!(page.iter().all(|(_, of)| of.role(&user).is_some()));
                told.extend(page.iter().map(|(doc, _)| *doc));
                after = told.last().copied();
                if !more {
                    break;
                }
            }
            assert!(
                told == right,
                "{user}: {} told of {}",
                told.len(),
                right.len()
            );
        }
    }

    /// What the manifest lists, whatever is in memory.
    async fn pairs_listed(&self) -> usize {
        let manifest = self.keeper.latest().unwrap();
        let mut all = Vec::new();
        for page in manifest.users.as_ref().unwrap() {
            let key = users_key(GROUP);
            let read = self.keeper.kept.pages.read(&key, page.place).await;
            let pairs = read_users(&read.unwrap()).unwrap();
            assert_eq!(pairs[0], page.first);
            all.extend(pairs);
        }
        assert!(all.is_sorted_by(|one, next| one < next));
        all.len()
    }

    /// A page of the lists is not what was written.
    fn flip(&self, page: usize) {
        let place = self.keeper.latest().unwrap().users.as_ref().unwrap()[page].place;
        let path = PathBuf::from(format!("{DATA}/{PAGES}/{:08x}.pages", place.file));
        self.disk.flip(&path, place.offset as usize + 60);
    }

    fn user_pages(&self) -> usize {
        self.keeper.latest().unwrap().users.as_ref().unwrap().len()
    }
}

/// Documents of all four, in two manifests, each with a guest.
async fn shared(disk: &MemoryDisk) -> World {
    let mut world = World::open_with(disk, 64 << 20).await;
    let owner = |n: u32| USERS[n as usize % 3];
    for from in [0, 4_000] {
        let all = from..from + 4_000;
        world
            .apply(all.clone().map(|n| create_of(n, owner(n))).collect())
            .await;
        let guests = all.step_by(2);
        let guests = guests.map(|n| grant(n, owner(n), "dee", Some(Role::Viewer)));
        world.apply(guests.collect()).await;
        world.check_lists().await;
        world.keeper.take().await.unwrap();
        world.check_lists().await;
    }
    world
}

#[tokio::test]
async fn a_users_documents_are_listed_in_order_from_pages_and_what_came_since() {
    let disk = MemoryDisk::new();
    let mut world = shared(&disk).await;
    assert_eq!(world.pairs_listed().await, 12_000);
    assert!(world.user_pages() > 8, "{}", world.user_pages());
    let before = world.user_pages();
    // One is taken away, and one's own role given up; nothing else is written again.
    let first = world.keeper.latest().unwrap();
    world
        .apply(vec![
            grant(0, "ada", "dee", None),
            grant(2, "dee", "dee", None),
        ])
        .await;
    world.check_lists().await;
    world.keeper.take().await.unwrap();
    assert_eq!(world.pairs_listed().await, 11_998);
    let (of_first, of_second) = (
        first.users.clone(),
        world.keeper.latest().unwrap().users.clone(),
    );
    let (of_first, of_second) = (of_first.unwrap(), of_second.unwrap());
    let stay = of_second
        .iter()
        .filter(|page| of_first.contains(page))
        .count();
    assert!(stay + 2 >= before, "{stay} of {before} pages stay");
    // In another life the same, with what the log brings again.
    world
        .apply(vec![grant(1, "bo", "dee", Some(Role::Editor))])
        .await;
    drop(world);
    let mut again = World::open_with(&disk, 64 << 20).await;
    again.check_lists().await;
    again
        .apply(vec![grant(1, "bo", "dee", Some(Role::Editor))])
        .await;
    again.check_lists().await;
    // Without documents there are no pages.
    let all = (0..8_000).map(|n| grant(n, USERS[n as usize % 3], "dee", None));
    again.apply(all.collect()).await;
    again.keeper.take().await.unwrap();
    assert_eq!(again.pairs_listed().await, 8_000);
    again.check_lists().await;
}

#[tokio::test]
async fn lists_that_do_not_read_back_are_made_anew_and_told_all_the_same() {
    let disk = MemoryDisk::new();
    let mut world = shared(&disk).await;
    world.flip(1);
    world.check_lists().await;
    assert!(
        world.keeper.latest().unwrap().users.is_none(),
        "nobody goes on with them"
    );
    assert!(world.keeper.tail.is_manifest_due());
    world.keeper.take().await.unwrap();
    assert_eq!(world.pairs_listed().await, 12_000);
    world.check_lists().await;
    // The same where it is found while they are written.
    world.flip(0);
    world
        .apply((8_000..8_100).map(|n| create_of(n, "ada")).collect())
        .await;
    world.keeper.take().await.unwrap();
    assert_eq!(world.pairs_listed().await, 12_100);
    world.check_lists().await;
}
