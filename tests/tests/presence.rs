//! Where people are in a document, with real processes: who sees whom, until when, and at what
//! price.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, kill},
    rest::Rest,
    socket::{Socket, fresh_client},
    typist::Typist,
};
use codraft_proto::{
    frame::{ClientFrame, Presence, Selection, ServerFrame, Welcome},
    ids::{ClientId, Revision},
};
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// So short that a test can wait for it.
const TTL: (&str, &str) = ("CODRAFT_LIMITS__PRESENCE_TTL_MS", "3000");
const LATE: Duration = Duration::from_millis(3_000);

struct Tab {
    socket: Socket,
    welcome: Welcome,
}

impl Tab {
    async fn open(rest: &Rest, doc: &str) -> Result<Tab> {
        let (socket, welcome) = Socket::open(rest, doc, fresh_client(), None, false).await?;
        Ok(Tab { socket, welcome })
    }

    fn client(&self) -> ClientId {
        self.socket.client
    }

    async fn at(&mut self, cursor: u32) -> Result<()> {
        let presence = Some(Presence {
            cursor: Some(cursor),
            ..Presence::default()
        });
        self.say(self.welcome.rev, presence).await
    }

    async fn say(&mut self, rev: Revision, presence: Option<Presence>) -> Result<()> {
        let frame = ClientFrame::Presence { rev, presence };
        self.socket.send(&frame).await
    }

    /// What is told next of somebody, questions answered as pages do.
    async fn told(&mut self, of: ClientId) -> Result<Option<Presence>> {
        loop {
            match self.socket.next().await? {
                ServerFrame::Here => self.socket.send(&ClientFrame::Here).await?,
                ServerFrame::Presence { slot, presence, .. }
                    if self.socket.who.get(&slot) == Some(&of) =>
                {
                    return Ok(presence);
                }
                _ => {}
            }
        }
    }

    /// Until somebody is told to be there, or none: gone.
    async fn sees(&mut self, of: ClientId, cursor: Option<u32>) -> Result<()> {
        while self.told(of).await?.and_then(|there| there.cursor) != cursor {}
        Ok(())
    }

    /// Until the socket ends; what it says of why.
    async fn ends(mut self) -> Result<String> {
        loop {
            match self.socket.next().await {
                Ok(ServerFrame::Bye { code, .. }) => return Ok(code.as_str().to_owned()),
                Ok(_) => {}
                Err(error) => bail!("without a bye: {error}"),
            }
        }
    }
}

async fn here(rest: &Rest, doc: &str) -> Result<Vec<Value>> {
    let path = format!("/v1/docs/{doc}/presence");
    let (status, answer) = rest.call(Method::GET, &path, None).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    Ok(answer["people"].as_array().context("no people")?.clone())
}

async fn are_here(rest: &Rest, doc: &str, who: &[ClientId]) -> Result<()> {
    let who: BTreeSet<String> = who.iter().map(ClientId::to_string).collect();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        // A router that was killed comes back.
        let there = here(rest, doc).await;
        let clients_of = |there: &[Value]| -> BTreeSet<String> {
            let clients = there.iter().filter_map(|p| p["client"].as_str());
            clients.map(str::to_owned).collect()
        };
        if there.as_deref().is_ok_and(|there| clients_of(there) == who) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "not {who:?} but {there:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn readers_of_a_document_see_where_the_others_are_and_nobody_else_does() -> Result<()> {
    let cluster = Processes::start("presence", &["--port", "0"], &[])?;
    let rest =
        |user: &str| Ok::<_, anyhow::Error>(Rest::new(&cluster.ready.http, &cluster.token(user)?));
    let (ana, bo, cy) = (rest("ana")?, rest("bo")?, rest("cy")?);
    let doc = ana.create("Seen", "some text").await?;
    ana.grant(&doc, "bo", "viewer").await?;
    let mut writer = Tab::open(&ana, &doc).await?;
    let mut viewer = Tab::open(&bo, &doc).await?;
    let selection = Some(Selection { anchor: 9, head: 5 });
    let presence = Presence {
        cursor: Some(5),
        selection,
        data: Some(r##"{"colour":"#2a7"}"##.into()),
    };
    writer
        .say(writer.welcome.rev, Some(presence.clone()))
        .await?;
    assert_eq!(viewer.told(writer.client()).await?, Some(presence.clone()));
    viewer.at(2).await?;
    writer.sees(viewer.client(), Some(2)).await?;

    // Who comes is told of all who are here, by the welcome's names.
    let mut late = Tab::open(&bo, &doc).await?;
    assert_eq!(late.told(writer.client()).await?, Some(presence));
    let there = here(&bo, &doc).await?;
    let clients = [writer.client().to_string(), viewer.client().to_string()];
    assert_eq!(there.len(), 2, "{there:?}");
    for person in &there {
        let at = clients
            .iter()
            .position(|client| person["client"] == **client);
        let is = match at.context("somebody else")? {
            0 => (
                json_of(&person["user"]),
                person["selection"]["head"].as_u64(),
            ),
            _ => (json_of(&person["user"]), person["cursor"].as_u64()),
        };
        assert!(
            [("ana", Some(5)), ("bo", Some(2))].contains(&(is.0, is.1)),
            "{person}"
        );
        assert!(
            person["last_seen"].as_u64() > Some(1_700_000_000_000),
            "{person}"
        );
    }
    let path = format!("/v1/docs/{doc}/presence");
    let (status, answer) = cy.call(Method::GET, &path, None).await?;
    assert_eq!(
        (status, json_of(&answer["code"])),
        (StatusCode::NOT_FOUND, "not_found")
    );

    // Gone at once, by a word and by the end of a socket.
    let (writers, viewers) = (writer.client(), viewer.client());
    writer.say(writer.welcome.rev, None).await?;
    assert_eq!(viewer.told(writers).await?, None);
    writer.at(1).await?;
    viewer.sees(writers, Some(1)).await?;
    drop(writer);
    assert_eq!(viewer.told(writers).await?, None);
    // Whose role was taken is gone, and hears of nobody.
    late.at(7).await?;
    viewer.sees(late.client(), Some(7)).await?;
    let mut owner = Tab::open(&ana, &doc).await?;
    owner.sees(viewers, Some(2)).await?;
    let path = format!("/v1/docs/{doc}/permissions/bo");
    let (status, answer) = ana.call(Method::DELETE, &path, None).await?;
    ensure!(status.is_success(), "{answer}");
    assert_eq!(viewer.ends().await?, "revoked");
    assert_eq!(owner.told(viewers).await?, None);
    are_here(&ana, &doc, &[]).await
}

fn json_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn whose_page_stands_still_is_gone_in_time_and_back_when_it_runs() -> Result<()> {
    let cluster = Processes::start("frozen", &["--port", "0"], &[TTL])?;
    let rest = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let doc = rest.create("Frozen", "some text").await?;
    let mut frozen = Tab::open(&rest, &doc).await?;
    let mut runs = Tab::open(&rest, &doc).await?;
    runs.at(1).await?;
    frozen.at(4).await?;
    runs.sees(frozen.client(), Some(4)).await?;
    let said = Instant::now();
    // It is asked, and does not answer; the other one does.
    assert_eq!(runs.told(frozen.client()).await?, None);
    ensure!(
        said.elapsed() <= LATE + Duration::from_millis(200),
        "late: {:?}",
        said.elapsed()
    );
    are_here(&rest, &doc, &[runs.client()]).await?;
    loop {
        if frozen.socket.next().await? == ServerFrame::Here {
            break;
        }
    }
    frozen.socket.send(&ClientFrame::Here).await?;
    runs.sees(frozen.client(), Some(4)).await?;
    are_here(&rest, &doc, &[runs.client(), frozen.client()]).await
}

#[tokio::test]
async fn a_leaders_death_takes_nobody_away_and_a_routers_death_takes_its_people() -> Result<()> {
    let folder = Folder::fresh("presence-failover");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &[])?;
    let rest = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let doc = rest.create("Led", "some text").await?;
    let mut ana = Tab::open(&rest, &doc).await?;
    let mut bo = Tab::open(&rest, &doc).await?;
    ana.at(3).await?;
    bo.at(4).await?;
    ana.sees(bo.client(), Some(4)).await?;
    are_here(&rest, &doc, &[ana.client(), bo.client()]).await?;
    for node in 1..=2 {
        let pid = cluster.signal(node, 9)?;
        are_here(&rest, &doc, &[ana.client(), bo.client()]).await?;
        bo.at(4 + node as u32).await?;
        // Whoever is told to be gone in between was taken away.
        loop {
            match ana.told(bo.client()).await? {
                Some(there) if there.cursor == Some(4 + node as u32) => break,
                Some(_) => {}
                None => bail!("gone, by the death of node {node}"),
            }
        }
        cluster.all_alive(&[pid]).await?;
    }
    let router = cluster.state()?.router.context("no router")?;
    kill(router.pid, 9);
    are_here(&rest, &doc, &[]).await
}

#[tokio::test]
async fn places_that_cannot_be_end_their_own_socket_and_nothing_else() -> Result<()> {
    let cluster = Processes::start("nowhere", &["--port", "0"], &[])?;
    let rest = Rest::new(&cluster.ready.http, &cluster.token("ana")?);
    let doc = rest.create("Nowhere", "some text").await?;
    let mut honest = Tab::open(&rest, &doc).await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    let cursor = |cursor| {
        Some(Presence {
            cursor: Some(cursor),
            ..Presence::default()
        })
    };

    let mut ahead = Tab::open(&rest, &doc).await?;
    ahead.say(Revision(1 << 40), cursor(1)).await?;
    assert_eq!(ahead.ends().await?, "base_ahead");
    let mut large = Tab::open(&rest, &doc).await?;
    let data = Some(format!(r#"{{"picture":"{}"}}"#, "x".repeat(4 << 10)));
    let presence = Some(Presence {
        data,
        ..Presence::default()
    });
    large.say(large.welcome.rev, presence).await?;
    assert_eq!(large.ends().await?, "frame_too_large");
    let mut strange = Tab::open(&rest, &doc).await?;
    strange
        .socket
        .send_raw([&[0xa2, 1][..], br#"{"cursor":-1}"#].concat())
        .await?;
    assert_eq!(strange.ends().await?, "malformed");

    // Past the end: passed on as it is, and whoever shows it knows where the text ends.
    let mut beyond = Tab::open(&rest, &doc).await?;
    beyond.say(beyond.welcome.rev, cursor(u32::MAX)).await?;
    honest.sees(beyond.client(), Some(u32::MAX)).await?;
    typist.append(" goes on").await?;
    are_here(&rest, &doc, &[beyond.client()]).await
}

/// Their users, since one has so many sockets on a document.
const USERS: usize = 4;
const PEOPLE: usize = 200;
const MOVES: u32 = 40;

#[tokio::test]
async fn two_hundred_people_are_one_message_each_hundred_milliseconds() -> Result<()> {
    let cluster = Processes::start(
        "crowd",
        &["--port", "0"],
        &[("CODRAFT_LIMITS__OPENS_PER_SECOND", "1000")],
    )?;
    let owner = Rest::new(&cluster.ready.http, &cluster.token("user-0")?);
    let doc = owner.create("Crowded", "some text").await?;
    let mut rests = vec![owner.clone()];
    for n in 1..USERS {
        owner.grant(&doc, &format!("user-{n}"), "viewer").await?;
        rests.push(Rest::new(
            &cluster.ready.http,
            &cluster.token(&format!("user-{n}"))?,
        ));
    }
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        let tab = Tab::open(&rests[n % USERS], &doc).await?;
        people.push(tab);
    }
    let mut reader = Tab::open(&owner, &doc).await?;
    let began = Instant::now();
    let moves = async {
        for n in 1..=MOVES {
            for tab in &mut people {
                tab.at(n).await?;
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    let reads = async {
        let (mut messages, mut frames, mut last) = (0u32, 0u32, BTreeSet::new());
        while last.len() < PEOPLE {
            let is_new = !reader.socket.has_more();
            if let ServerFrame::Presence { slot, presence, .. } = reader.socket.next().await? {
                (messages, frames) = (messages + u32::from(is_new), frames + 1);
                if presence.and_then(|there| there.cursor) == Some(MOVES) {
                    last.insert(slot);
                }
            }
        }
        Ok::<_, anyhow::Error>((messages, frames, began.elapsed()))
    };
    let (moved, read) = tokio::join!(moves, reads);
    moved?;
    let (messages, frames, took) = read?;
    println!(
        "{PEOPLE} people, {MOVES} moves each in {took:?}: {messages} messages, {frames} frames"
    );
    let most = took.as_millis() as u32 / 100 + 2;
    ensure!(messages <= most, "{messages} messages in {took:?}");
    ensure!(frames < PEOPLE as u32 * MOVES, "nothing was left out");
    Ok(())
}
