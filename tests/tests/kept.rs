//! What nodes keep in pages beside their logs: documents that are not in memory are there all the
//! same, and a restart is no new beginning.

#![allow(clippy::disallowed_methods)] // outside the product: files, clocks, children

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    patience::PATIENCE,
    processes::{Folder, Processes, codraft, kill, until},
    rest::Rest,
    socket::fresh_client,
    typist::Typist,
};
use codraft_ot::Delta;
use codraft_proto::{
    frame::{ClientFrame, ServerFrame},
    ids::{Revision, Seq},
};
use hyper::Method;
use tokio::time::timeout;

/// State is written after every few commands, and little of it may stay in memory; one user does the
/// work of many.
const TIGHT: [(&str, &str); 5] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__GROUP_MEMORY_BYTES", "1048576"),
    ("CODRAFT_LIMITS__BYTES_PER_SECOND", "100000000"),
    ("CODRAFT_LIMITS__OPENS_PER_SECOND", "1000"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "1000"),
];

/// It takes one within this, or has no need of it.
const A_WHILE: Duration = Duration::from_secs(3);

fn rest(processes: &Processes) -> Rest {
    Rest::new(&processes.ready.http, &processes.ready.token)
}

/// While a node stands still the others write so much that their logs do not reach back to it.
#[tokio::test]
async fn a_node_that_was_away_for_long_takes_the_state_of_the_others() -> Result<()> {
    let folder = Folder::fresh("away");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let rest = rest(&cluster);
    let mut typists = BTreeMap::new();
    for n in 0..8 {
        let doc = rest.create(&format!("document {n}"), "").await?;
        typists.insert(doc.clone(), Typist::open(&rest, &doc).await?);
    }
    let installed = || {
        let log = folder.log();
        log.matches("taking another node's state").count()
    };
    for _ in 1..=2 {
        // How much it takes until the logs begin later depends on how fast that is typed.
        let (before, mut rounds) = (installed(), 40);
        while installed() == before {
            ensure!(rounds <= 2_560, "node 2 takes no state: {}", folder.log());
            let away = cluster.signal(2, libc::SIGSTOP)?;
            for n in 0..rounds {
                for typist in typists.values_mut() {
                    typist.append(&format!("{n} ")).await?;
                }
            }
            kill(away, libc::SIGCONT);
            let _ = timeout(A_WHILE, until("a state is taken", || installed() > before)).await;
            rounds *= 2;
        }
    }
    // Now a majority needs it.
    let away = cluster.signal(3, libc::SIGSTOP)?;
    for typist in typists.values_mut() {
        let said = typist.append("and on").await;
        said.with_context(|| folder.log())?;
    }
    let texts: BTreeMap<String, String> = typists
        .iter()
        .map(|(doc, typist)| (doc.clone(), typist.text()))
        .collect();
    all_read_back(&rest, &texts).await?;
    kill(away, libc::SIGKILL);
    cluster.all_alive(&[away]).await?;
    cluster.kill()?;
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    all_read_back(&self::rest(&cluster), &texts).await?;
    codraft(&["verify", "--data"], folder.path())?;
    cluster.stop();
    codraft(&["verify", "--data"], folder.path())?;
    Ok(())
}

async fn all_read_back(rest: &Rest, texts: &BTreeMap<String, String>) -> Result<()> {
    for (doc, text) in texts {
        let found = Typist::open(rest, doc).await?.text();
        ensure!(found == *text, "{doc} has another text");
    }
    Ok(())
}

/// Where the archive cannot be written the disk must not fill up with what waits for it.
#[tokio::test]
async fn what_the_archive_cannot_take_is_refused_until_it_can() -> Result<()> {
    let folder = Folder::fresh("unarchived");
    let small = [
        ("CODRAFT_LIMITS__UNARCHIVED_BYTES", "67108864"),
        ("CODRAFT_LIMITS__BODY_BYTES", "4194304"),
    ];
    let env = [&TIGHT[..], &small].concat();
    let cluster = Processes::start_in(&folder, &[], &env)?;
    let rest = rest(&cluster);
    let doc = rest.create("first", "").await?;
    let archives: Vec<_> = (1..=3)
        .map(|n| folder.path().join(format!("node-{n}/archive")))
        .collect();
    for archive in &archives {
        std::fs::rename(archive, archive.with_extension("away"))?;
        std::fs::write(archive, "in the way")?;
    }
    // It does not compress.
    let text: String = (0..3_000_000)
        .map(|_| char::from(rand::random_range(b'a'..=b'z')))
        .collect();
    let mut made = 0;
    let refused = loop {
        match rest.create("large", &text).await {
            Ok(_) if made < 60 => made += 1,
            Ok(_) => bail!("{made} documents, and none was refused"),
            Err(error) => break format!("{error:#}"),
        }
    };
    ensure!(refused.contains("disk_full"), "{refused}");
    ensure!(made > 10, "refused after {made}");
    let said = || folder.log().contains("too many events are not archived");
    until("the log says so", said).await?;
    // What is there can be edited: there is half as much again for that.
    let mut typist = Typist::open(&rest, &doc).await?;
    typist.append("goes on").await?;

    for archive in &archives {
        std::fs::remove_file(archive)?;
        std::fs::rename(archive.with_extension("away"), archive)?;
    }
    let end = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = rest.create("after", "").await {
        let late = tokio::time::Instant::now() > end;
        ensure!(!late, "{error:#}; {}", folder.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Where one node's archive alone cannot be written, another one leads, and nobody is refused for long.
#[tokio::test]
async fn a_leader_whose_archive_takes_nothing_hands_over() -> Result<()> {
    let folder = Folder::fresh("stuck");
    let small = [
        ("CODRAFT_LIMITS__UNARCHIVED_BYTES", "67108864"),
        ("CODRAFT_LIMITS__BODY_BYTES", "4194304"),
    ];
    let env = [&TIGHT[..], &small].concat();
    let cluster = Processes::start_in(&folder, &["--groups", "1"], &env)?;
    let rest = rest(&cluster);
    let doc = rest.create("first", "").await?;
    let leader = async || {
        let asked = format!("/dev/cluster?doc={doc}");
        let (_, answer) = rest.call(Method::GET, &asked, None).await?;
        answer["leader"].as_u64().context("nobody leads")
    };
    let stuck = leader().await?;
    let archive = folder.path().join(format!("node-{stuck}/archive"));
    std::fs::rename(&archive, archive.with_extension("away"))?;
    std::fs::write(&archive, "in the way")?;
    // It does not compress.
    let text: String = (0..3_000_000)
        .map(|_| char::from(rand::random_range(b'a'..=b'z')))
        .collect();
    // More than its budget by far; where it is refused another one leads in a moment.
    for nth in 0..30 {
        let end = tokio::time::Instant::now() + PATIENCE;
        while let Err(error) = rest.create("large", &text).await {
            let late = tokio::time::Instant::now() > end;
            ensure!(!late, "document {nth}: {error:#}; {}", folder.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    ensure!(leader().await? != stuck, "it leads still");
    let mut typist = Typist::open(&rest, &doc).await?;
    typist.append("goes on").await?;
    Ok(())
}

#[tokio::test]
async fn documents_that_do_not_fit_in_memory_outlive_it_and_every_kill() -> Result<()> {
    let folder = Folder::fresh("kept");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let mut texts = BTreeMap::new();
    for n in 0..40 {
        let text = format!("{n} ").repeat(20_000);
        let doc = rest(&cluster)
            .create(&format!("document {n}"), &text)
            .await?;
        texts.insert(doc, text);
    }
    let client = fresh_client();
    let written = texts.keys().next().cloned().unwrap_or_default();
    for (doc, text) in texts.iter_mut() {
        let mut typist = match *doc == written {
            true => Typist::open_as(&rest(&cluster), doc, client).await?,
            false => Typist::open(&rest(&cluster), doc).await?,
        };
        for letter in ["a", "b", "c"] {
            typist.append(letter).await?;
        }
        text.push_str("abc");
    }
    all_read_back(&rest(&cluster), &texts).await?;
    cluster.kill()?;

    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    all_read_back(&rest(&cluster), &texts).await?;
    // The record of what was applied was in the page: a repeat is one.
    let typist = Typist::open_as(&rest(&cluster), &written, client).await?;
    let (base, units) = (typist.rev - 1, typist.text().len() as u32 - 1);
    let mut socket = typist.into_socket();
    let mut again = Delta::new();
    again.retain(units).insert("c");
    let ops = again.to_bytes().into();
    let (seq, base) = (Seq(3), Revision(base));
    socket.send(&ClientFrame::Op { seq, base, ops }).await?;
    loop {
        match socket.next().await? {
            ServerFrame::Already { seq: Seq(3), .. } => break,
            told @ (ServerFrame::Op(_) | ServerFrame::Reject { .. }) => bail!("{told:?}"),
            _ => {}
        }
    }
    all_read_back(&rest(&cluster), &texts).await?;

    let pages = folder.path().join("node-1/pages");
    let is_full = std::fs::read_dir(&pages)?.next().is_some();
    ensure!(is_full, "nothing was kept in {}", pages.display());
    // An end in order leaves nothing to go through, and takes nothing away.
    cluster.stop();
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    all_read_back(&rest(&cluster), &texts).await?;
    codraft(&["verify", "--data"], folder.path())?;
    Ok(())
}
