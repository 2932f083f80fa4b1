//! What is damaged on one node's disk is named, set aside, and had again from the others.
#![allow(clippy::disallowed_methods)] // reads and writes files, outside the product

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, kill, program, until},
    rest::Rest,
    travel::text_of,
    typist::Typist,
};
use hyper::Method;

/// State is kept after every few commands.
const TIGHT: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "1000"),
];

fn files(dir: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|of| of == end));
    paths.sort();
    Ok(paths)
}

/// Where pages stand in a file, and of which kind: each begins with its length, and has the document's id
/// at 16 and an entry's index at 32. Lists of documents have neither.
fn pages(content: &[u8]) -> Vec<(usize, &'static str)> {
    let (mut at, mut found) = (24, Vec::new());
    while let Some(length) = content.get(at..at + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let is_zero = |from: usize, to: usize| {
            let bytes = content.get(at + from..at + to).unwrap_or_default();
            bytes.iter().all(|byte| *byte == 0)
        };
        let kind = match (is_zero(16, 32), is_zero(32, 40)) {
            (false, _) => "documents",
            (true, true) => "lists",
            (true, false) => "events",
        };
        found.push((at + 40 + length / 2, kind));
        at = (at + 40 + length).next_multiple_of(8);
    }
    found
}

/// Flips a bit of the last page of a kind, or of a manifest; what it may be named by.
fn damage(node: &Path, what: &str) -> Result<&'static str> {
    let (folder, end) = match what {
        "manifests" => ("manifests", "manifest"),
        "events" => ("events", "pages"),
        _ => ("pages", "pages"),
    };
    for path in files(&node.join(folder), end)?.into_iter().rev() {
        let content = std::fs::read(&path)?;
        let of_kind = |(_, kind): &(usize, &str)| *kind == what;
        let at = match what {
            "manifests" => Some(50),
            _ => pages(&content).into_iter().rfind(of_kind).map(|(at, _)| at),
        };
        if let Some(at) = at {
            // A node that runs may be writing behind it.
            let file = File::options().write(true).open(&path)?;
            file.write_all_at(&[content[at] ^ 0x04], at as u64)?;
            return Ok(match what {
                "manifests" => ".manifest does not read back",
                "events" => "the events of entries",
                "lists" => "the list of documents of slot",
                // Had again, or nobody else has it like that any more: how far the others went on decides.
                _ => ".pages",
            });
        }
    }
    bail!("no {what} in {}", node.display())
}

/// How many pages of events a node has.
fn event_pages(node: &Path) -> Result<usize> {
    let files = files(&node.join("events"), "pages")?;
    files
        .iter()
        .map(|path| Ok(pages(&std::fs::read(path)?).len()))
        .sum()
}

/// What `verify` says, and whether nothing lies.
fn verify(data: &Path) -> Result<(bool, String)> {
    let output = Command::new(program()?)
        .args(["verify", "--data"])
        .arg(data)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// Each kind on another node, so that each group has two whole replicas of everything.
#[tokio::test]
async fn what_is_damaged_on_one_disk_is_named_and_had_again_from_the_others() -> Result<()> {
    let folder = Folder::fresh("damaged");
    // One group: else it may have one document alone, and a log that still has its first entry.
    let start = || Processes::start_in(&folder, &["--port", "0", "--groups", "1"], &TIGHT);
    let mut cluster = start()?;
    let mut texts = Vec::new();
    for n in 0..6 {
        let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
        let doc = rest.create(&format!("document {n}"), "It begins. ").await?;
        texts.push((doc, String::from("It begins. ")));
    }
    for (round, what) in ["manifests", "lists", "events", "documents"]
        .into_iter()
        .enumerate()
    {
        let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
        for (doc, text) in &mut texts {
            let mut typist = Typist::open(&rest, doc).await?;
            for word in 0..30 {
                typist.append(&format!("{round}.{word} ")).await?;
            }
            *text = typist.text();
        }
        cluster.stop();
        let hurt = 1 + round as u64 % 3;
        let node = folder.path().join(format!("node-{hurt}"));
        let named = damage(&node, what)?;
        let (is_well, said) = verify(folder.path())?;
        ensure!(!is_well && said.contains("LIE: "), "{what}: {said}");
        let before = folder.log().len();
        cluster = start()?;
        // Two of three are enough: nobody waits for it.
        let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
        for (doc, text) in &mut texts {
            let mut typist = Typist::open(&rest, doc).await?;
            ensure!(typist.text() == *text, "{what}: {doc} has another text");
            typist.append("and on ").await?;
            *text = typist.text();
        }
        let log = || folder.log().get(before..).unwrap_or_default().to_owned();
        until("it is named", || log().contains(named))
            .await
            .with_context(|| format!("{what}: {}", log()))?;
        if what != "documents" {
            let taken = || log().contains("goes on from another node's state");
            until("a state is taken", taken)
                .await
                .with_context(|| format!("{what}: {}", log()))?;
        }
        // A majority needs it now, and it may be the one that leads.
        let away = 1 + hurt % 3;
        let away = cluster.signal(away, libc::SIGSTOP)?;
        for (doc, text) in &mut texts {
            let mut typist = Typist::open(&rest, doc).await?;
            ensure!(typist.text() == *text, "{what}: {doc} has another text");
            typist.append("and on ").await?;
            *text = typist.text();
        }
        kill(away, libc::SIGCONT);
        // What is left of the damaged file goes elsewhere with what comes.
        let mut said = String::new();
        let is_well = || {
            verify(folder.path()).is_ok_and(|(is_well, of)| {
                said = of;
                is_well
            })
        };
        if let Err(error) = until("nothing lies any more", is_well).await {
            bail!("{what}: {error:#}: {said}; {}", log());
        }
    }
    cluster.stop();
    let (is_well, said) = verify(folder.path())?;
    ensure!(is_well, "{said}");
    Ok(())
}

/// Whoever leads, it stays so: a group needs none of what is damaged to go on.
#[tokio::test]
async fn events_that_are_damaged_under_a_running_node_are_had_again() -> Result<()> {
    let folder = Folder::fresh("damaged-events");
    let cluster = Processes::start_in(&folder, &["--port", "0", "--groups", "1"], &TIGHT)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("document", "It begins. ").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    let history = format!("/v1/docs/{doc}/history");
    for hurt in 1..=3 {
        let node = folder.path().join(format!("node-{hurt}"));
        // What was archived before is in the first at most.
        let enough = event_pages(&node)? + 2;
        for word in 0..60 {
            typist.append(&format!("{hurt}.{word} ")).await?;
        }
        let (text, version) = (typist.text(), typist.rev);
        let are_kept = || event_pages(&node).is_ok_and(|count| count >= enough);
        until("events are kept", are_kept).await?;
        damage(&node, "events")?;
        let before = folder.log().len();
        // It ends a round: what waits is read, on each node with its next state.
        let snapshots = format!("/v1/docs/{doc}/snapshots");
        let (status, body) = rest.call(Method::POST, &snapshots, None).await?;
        ensure!(status.is_success(), "{status} {body}");
        for word in 0..30 {
            typist.append(&format!("and {word} ")).await?;
        }
        let log = || folder.log().get(before..).unwrap_or_default().to_owned();
        for words in ["the events of entries", "taken again from node"] {
            let told = until(words, || log().contains(words)).await;
            told.with_context(|| format!("node {hurt}: {}", log()))?;
        }
        ensure!(!log().contains("another node's state"), "{}", log());
        let path = format!("{history}?version={version}");
        let (status, told) = rest.call(Method::GET, &path, None).await?;
        ensure!(text_of(&told)? == text, "{status} {told}: {}", log());
        let mut said = String::new();
        let is_well = || {
            let of = verify(folder.path()).map(|(is_well, of)| {
                said = of;
                is_well
            });
            of.is_ok_and(|is_well| is_well)
        };
        if let Err(error) = until("nothing lies any more", is_well).await {
            bail!("node {hurt}: {error:#}: {said}; {}", log());
        }
    }
    cluster.all_alive(&[]).await?;
    cluster.stop();
    let (is_well, said) = verify(folder.path())?;
    ensure!(is_well, "{said}");
    Ok(())
}
