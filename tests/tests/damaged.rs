//! What is damaged on one node's disk is named, set aside, and had again from the others.
#![allow(clippy::disallowed_methods)] // reads and writes files, outside the product

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, kill, program, until},
    rest::Rest,
    typist::Typist,
};

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

/// Where pages stand in a file: each begins with its length, and has the document's id at 16.
fn pages(content: &[u8]) -> Vec<(usize, bool)> {
    let (mut at, mut found) = (24, Vec::new());
    while let Some(length) = content.get(at..at + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let is_document = content
            .get(at + 16..at + 32)
            .is_some_and(|id| id != [0; 16]);
        found.push((at + 40 + length / 2, is_document));
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
        let mut content = std::fs::read(&path)?;
        let of_kind = |(_, is_document): &(usize, bool)| *is_document == (what == "documents");
        let at = match what {
            "manifests" => Some(50),
            _ => pages(&content).into_iter().rfind(of_kind).map(|(at, _)| at),
        };
        if let Some(at) = at {
            content[at] ^= 0x04;
            std::fs::write(&path, content)?;
            return Ok(match what {
                "manifests" => ".manifest does not read back",
                "events" => "the events of entries",
                "lists" => "the list of documents of slot",
                _ => "a page was damaged",
            });
        }
    }
    bail!("no {what} in {}", node.display())
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
    let start = || Processes::start_in(&folder, &["--port", "0"], &TIGHT);
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
            until("a state is taken", taken).await?;
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
