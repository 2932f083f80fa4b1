//! `codraft node replace`: a disk is lost for good, and a new node has its place while everybody
//! types on.
#![allow(clippy::disallowed_methods)] // outside the product: files, clocks, children

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, codraft, kill, refused, until},
    rest::Rest,
    typist::Typist,
};

/// State is kept so often that the logs do not reach back to the beginning.
const SMALL: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__BYTES_PER_SECOND", "100000000"),
];
const DOCUMENTS: usize = 6;

/// Types into a document until it is told to end; what the document must hold then.
async fn type_on(rest: Rest, end: Arc<AtomicBool>) -> Result<(String, String)> {
    let doc = rest.create("typed", "").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    let mut n = 0;
    while !end.load(Relaxed) {
        typist.append(&format!("{n} ")).await?;
        n += 1;
    }
    ensure!(n > 100, "only {n} were typed");
    Ok((doc, typist.text()))
}

async fn all_read_back(cluster: &Processes, texts: &[(String, String)]) -> Result<()> {
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    for (doc, text) in texts {
        let found = Typist::open(&rest, doc).await?.text();
        ensure!(found == *text, "{doc} has another text");
    }
    Ok(())
}

async fn replace(data: &Path, old: &'static str, new: &'static str) -> Result<String> {
    let data = data.to_owned();
    let run = move || codraft(&["node", "replace", old, new, "--data"], &data);
    tokio::task::spawn_blocking(run).await?
}

#[tokio::test]
async fn a_lost_disk_is_replaced_while_everybody_types() -> Result<()> {
    let folder = Folder::fresh("replaced");
    let cluster = Processes::start_in(&folder, &[], &SMALL)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let end = Arc::new(AtomicBool::new(false));
    let typing: Vec<_> = (0..DOCUMENTS)
        .map(|_| tokio::spawn(type_on(rest.clone(), end.clone())))
        .collect();
    let archived = || folder.path().join("node-1/pages").is_dir();
    until("something is kept", archived).await?;

    // A new disk under an old id is refused, so the place is empty.
    std::fs::rename(folder.path().join("node-2"), folder.path().join("lost"))?;
    cluster.signal(2, libc::SIGKILL)?;
    until("the wiped disk is refused", || {
        folder.log().contains("node 2 had disk")
    })
    .await?;
    let said = replace(folder.path(), "2", "4").await;
    let said = said.with_context(|| folder.log())?;
    for group in 0..2 {
        let done = format!("group {group}: node 4 votes in the place of node 2");
        ensure!(said.contains(&done), "{said}");
    }
    let nodes = || -> Vec<u64> {
        let state = cluster.state().map(|state| state.nodes);
        state
            .unwrap_or_default()
            .iter()
            .map(|node| node.id)
            .collect()
    };
    until("node 2 runs no more", || nodes() == [1, 3, 4]).await?;
    let again = replace(folder.path(), "2", "4").await?;
    ensure!(
        again.contains("group 1: node 4 votes"),
        "it is done: {again}"
    );

    // Now a majority needs the new one.
    let mut typist = Typist::open(&rest, &rest.create("more", "").await?).await?;
    let away = cluster.signal(1, libc::SIGSTOP)?;
    for n in 0..100 {
        typist.append(&format!("{n} ")).await?;
    }
    kill(away, libc::SIGCONT);
    end.store(true, Relaxed);
    let mut texts = Vec::new();
    for task in typing {
        texts.push(task.await?.with_context(|| folder.log())?);
    }
    all_read_back(&cluster, &texts).await?;
    let proven = codraft(&["verify", "--data"], folder.path())?;
    ensure!(proven.contains("ok"), "{proven}");
    cluster.stop();

    let cluster = Processes::start_in(&folder, &[], &SMALL)?;
    all_read_back(&cluster, &texts).await?;
    for (old, new) in [("3", "4"), ("3", "2"), ("9", "10")] {
        refused(&["node", "replace", old, new, "--data"], folder.path())?;
    }
    Ok(())
}
