//! Where people are: what a router says of its own, to whom, and what it shows.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use codraft_proto::{
    frame::{ClientFrame, Encoding, Presence, ServerFrame},
    ids::{ClientId, DocId, Revision},
    v1,
};
use fake::{Scene, client::Client};
use tokio::time::Instant;

const USERS: [(&str, u32); 2] = [("ana", 4), ("bo", 1)];

async fn open(scene: &Scene, doc: DocId, user: &str, id: u8) -> Client {
    let encoding = [Encoding::Binary, Encoding::Json][id as usize % 2];
    Client::open(scene.router.address(), doc, user, id, encoding)
        .await
        .0
}

async fn says(client: &mut Client, cursor: u32) {
    let presence = Some(Presence {
        cursor: Some(cursor),
        ..Presence::default()
    });
    let rev = Revision(0);
    client.send(&ClientFrame::Presence { rev, presence }).await;
}

/// The next that is told of anybody.
async fn told(client: &mut Client) -> Option<u32> {
    loop {
        if let ServerFrame::Presence { presence, .. } = client.next().await {
            return presence.and_then(|there| there.cursor);
        }
    }
}

async fn sees(client: &mut Client, cursor: Option<u32>) {
    while told(client).await != cursor {}
}

fn cursors(said: &v1::Presence) -> Vec<(u8, Option<u32>)> {
    let cursor = |person: &v1::Person| person.standing.as_ref().and_then(|is| is.cursor);
    let people = said.people.iter();
    people
        .map(|person| (person.client[0], cursor(person)))
        .collect()
}

#[tokio::test]
async fn of_each_the_latest_leaves_ten_times_a_second() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    let mut ana = open(&scene, doc, "ana", 1).await;
    let mut bo = open(&scene, doc, "bo", 2).await;
    let began = Instant::now();
    for cursor in 1..=500 {
        says(&mut ana, cursor).await;
        says(&mut bo, 1_000 + cursor).await;
    }
    sees(&mut bo, Some(1_500)).await;
    let most = began.elapsed().as_millis() as usize / 100 + 2;
    let said = scene.with_world(|w| std::mem::take(&mut w.said));
    assert!(said.len() <= 1 + most, "{} messages", said.len());
    assert!(said[0].1.whole && said[1..].iter().all(|(_, said)| !said.whole));
    assert_eq!(
        cursors(&said.last().unwrap().1).last(),
        Some(&(2, Some(1_500)))
    );
    scene.end().await;
}

/// All who are there, wherever the document is led; who is gone meanwhile is not among them.
#[tokio::test]
async fn the_next_leader_is_told_of_all_and_who_it_never_hears_of_goes() {
    let scene = Scene::new().await;
    let doc = scene.document(1, &USERS);
    let mut ana = open(&scene, doc, "ana", 1).await;
    let mut bo = open(&scene, doc, "bo", 2).await;
    let mut gone = open(&scene, doc, "bo", 3).await;
    says(&mut ana, 1).await;
    says(&mut bo, 2).await;
    says(&mut gone, 3).await;
    sees(&mut ana, Some(3)).await;
    drop(gone);
    sees(&mut ana, None).await;
    // By another router, which the next leader hears nothing of.
    let elsewhere = v1::Person {
        client: ClientId([9; 16]).to_bytes(),
        user: "bo".into(),
        name: "Bo".into(),
        standing: Some(v1::Standing {
            cursor: Some(9),
            ..v1::Standing::default()
        }),
    };
    scene.with_world(|w| w.tell_people(doc, vec![elsewhere]));
    sees(&mut ana, Some(9)).await;
    scene.with_world(|w| w.said.clear());
    scene.lead(2);
    let moved = Instant::now();
    sees(&mut ana, Some(1)).await;
    sees(&mut ana, None).await;
    assert!(
        moved.elapsed() >= Duration::from_secs(2),
        "its router may be late"
    );
    let said = scene.with_world(|w| std::mem::take(&mut w.said));
    let (node, said) = &said[0];
    assert_eq!((*node, said.whole), (2, true));
    assert_eq!(cursors(said), [(1, Some(1)), (2, Some(2))]);
    scene.end().await;
}
