//! What nodes keep, proven from their files: `codraft verify` finds nothing where nothing lies, and names
//! the byte that does.
#![allow(clippy::disallowed_methods)] // reads and writes files, outside the product

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    forge,
    processes::{Folder, Processes, program, until},
    rest::Rest,
    typist::Typist,
};
use codraft_proto::ids::DocId;
use hyper::{Method, StatusCode};

/// State is kept after every few commands, and archived with it.
const TIGHT: [(&str, &str); 2] = [
    ("CODRAFT_LIMITS__SNAPSHOT_COMMANDS", "20"),
    ("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "1000"),
];

/// Exit code and what was said.
fn verify(args: &[&str], data: &Path) -> Result<(i32, String)> {
    let output = Command::new(program()?)
        .arg("verify")
        .args(args)
        .arg("--data")
        .arg(data)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.code().context("it was killed")?, said))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

/// Where some words are in the files of a folder: the last place, or of a log the first, since what was
/// sent once more is in it twice.
fn find(dir: &Path, words: impl AsRef<[u8]>) -> Result<(PathBuf, usize)> {
    let words = words.as_ref();
    let is_log = dir.ends_with("wal");
    for path in files(dir)?.into_iter().rev() {
        let content = std::fs::read(&path)?;
        let mut places = content.windows(words.len());
        let is_here = |part: &[u8]| part == words;
        let at = match is_log {
            true => places.position(is_here),
            false => places.rposition(is_here),
        };
        if let Some(at) = at {
            return Ok((path, at));
        }
    }
    let words = String::from_utf8_lossy(words);
    anyhow::bail!("{words:?} is nowhere in {}", dir.display())
}
fn flip(path: &Path, at: usize) -> Result<()> {
    let mut content = std::fs::read(path)?;
    content[at] ^= 0x04;
    Ok(std::fs::write(path, content)?)
}

/// A cluster that has everything: documents that went on since they were archived, and entries since
/// they were kept. The document that the words are in.
async fn filled(cluster: &Processes) -> Result<String> {
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let mut last = String::new();
    for n in 0..6 {
        last = rest.create(&format!("document {n}"), "It begins. ").await?;
        rest.grant(&last, &format!("guest-{n}"), "viewer").await?;
        let mut typist = Typist::open(&rest, &last).await?;
        for _ in 0..20 {
            typist.append("as it was archived, ").await?;
        }
        let snapshots = format!("/v1/docs/{last}/snapshots");
        let (status, answer) = rest.call(Method::POST, &snapshots, None).await?;
        ensure!(status == StatusCode::OK, "{answer}");
        for _ in 0..24 {
            typist.append("and as it was kept, ").await?;
        }
    }
    let mut typist = Typist::open(&rest, &last).await?;
    typist.append("peregrine").await?;
    for _ in 0..24 {
        typist.append(", and what came later").await?;
    }
    for node in (1..=3).map(|id| cluster.data().join(format!("node-{id}"))) {
        let is_archived = || files(&node.join("archive")).is_ok_and(|found| !found.is_empty());
        until("every node archives", is_archived).await?;
        let is_in = |part: &str| find(&node.join(part), "peregrine").is_ok();
        until("every node keeps", || is_in("pages") && is_in("events")).await?;
    }
    Ok(last)
}

/// Flips a byte of a node, which is the one thing that is told then.
fn is_named(
    data: &Path,
    what: &str,
    (path, at): (PathBuf, usize),
    told: Option<&str>,
) -> Result<()> {
    flip(&path, at)?;
    let (code, said) = verify(&[], data)?;
    assert_eq!(code, 1, "{what}: {said}");
    let lies = said.lines().filter(|line| line.starts_with("LIE: "));
    let [lie] = lies.collect::<Vec<_>>()[..] else {
        panic!("{what}: one byte is one lie: {said}");
    };
    let place = format!("LIE: {}, byte {at}, group ", path.display());
    assert!(lie.starts_with(&place), "{what}: {place} in {lie}");
    assert!(told.is_none_or(|told| lie.contains(told)), "{what}: {lie}");
    flip(&path, at)
}

#[tokio::test]
async fn a_flipped_byte_is_named_wherever_it_is() -> Result<()> {
    let folder = Folder::fresh("verify");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let doc = filled(&cluster).await?;
    let data = folder.path();
    let (code, said) = verify(&[], data)?;
    assert_eq!(code, 0, "while all of it runs: {said}");
    let told = "18 documents as nodes have them now";
    assert!(said.contains(told), "{said}");
    cluster.stop();
    let (code, said) = verify(&[], data)?;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 nodes: 18 documents"), "{said}");

    let node = data.join("node-2");
    let middle = |part: &str| -> Result<(PathBuf, usize)> {
        let length = |path: &PathBuf| path.metadata().map_or(0, |of| of.len() as usize);
        let largest = files(&node.join(part))?.into_iter().max_by_key(length);
        let largest = largest.context("nothing is there")?;
        let at = length(&largest) / 2;
        Ok((largest, at))
    };
    let words = |part: &str, words: &str| find(&node.join(part), words);
    let told = format!("document {doc}, revision 48");
    let page = format!("document {doc}, revision ");
    is_named(data, "a page", words("pages", "peregrine")?, Some(&page))?;
    is_named(
        data,
        "the op log",
        words("events", "peregrine")?,
        Some(&told),
    )?;
    is_named(data, "the log", words("wal", "peregrine")?, Some(&told))?;
    is_named(data, "the archive", middle("archive")?, Some("document "))?;
    let listed = [&b"\x07guest-5\x01"[..], &doc.parse::<DocId>()?.0].concat();
    is_named(data, "a list", find(&node.join("pages"), listed)?, None)?;
    is_named(data, "a manifest", middle("manifests")?, None)?;

    // A copy that was put aside is no second replica.
    let aside = data.join("node-2.before");
    copy(&node, &aside)?;
    let (code, said) = verify(&[], data)?;
    assert!(
        code == 0 && said.contains("node-2.before: left out"),
        "{said}"
    );
    std::fs::remove_dir_all(aside)?;

    // What came since the state was kept is in the log alone: it is applied again.
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let mut typist = Typist::open(&rest, &doc).await?;
    for words in ["and ", "nightjar", " and"] {
        typist.append(words).await?;
    }
    cluster.kill()?;
    let (code, said) = verify(&[], data)?;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains(" 0 entries"), "{said}");
    let told = format!("document {doc}, revision 74");
    is_named(data, "the log", words("wal", "nightjar")?, Some(&told))?;
    let (code, said) = verify(&[], data)?;
    assert_eq!(code, 0, "{said}");
    Ok(())
}

/// A page that fits its checksums, its list and its manifest is not what the events make.
#[tokio::test]
async fn a_text_that_nobody_wrote_is_told_though_all_fits() -> Result<()> {
    let folder = Folder::fresh("verify-forged");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Minutes", "Pay Ana 100.").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    for _ in 0..30 {
        typist.append(" Yes.").await?;
    }
    let node = folder.path().join("node-2");
    let is_kept = || find(&node.join("pages"), "Pay Ana 100").is_ok();
    until("the document is kept", is_kept).await?;
    cluster.stop();
    assert_eq!(verify(&[], &node)?.0, 0);
    forge::page(&node, doc.parse()?, "Pay Ana 100", "Pay Ana 900").await?;
    let (code, said) = verify(&[], &node)?;
    assert_eq!(code, 1, "{said}");
    let lie = format!("document {doc}, revision ");
    let what = "its events make another text than its page has";
    assert!(said.contains(&lie) && said.contains(what), "{said}");
    // And the others have another one.
    let (code, said) = verify(&[], folder.path())?;
    assert!(code == 1 && said.contains("another state than"), "{said}");
    Ok(())
}

/// What is written while it is looked at is on its way, and no lie.
#[tokio::test]
async fn a_cluster_that_is_typed_in_is_no_liar() -> Result<()> {
    let folder = Folder::fresh("verify-typing");
    let cluster = Processes::start_in(&folder, &["--port", "0"], &TIGHT)?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = rest.create("Minutes", "One.").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    for _ in 0..4 {
        let data = folder.path().to_owned();
        let verified = tokio::task::spawn_blocking(move || verify(&[], &data));
        while !verified.is_finished() {
            typist.append(" and on it goes").await?;
            if typist.rev.is_multiple_of(50) {
                let snapshots = format!("/v1/docs/{doc}/snapshots");
                rest.call(Method::POST, &snapshots, None).await?;
            }
        }
        let (code, said) = verified.await??;
        assert_eq!(code, 0, "at revision {}: {said}", typist.rev);
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        match path.is_dir() {
            true => copy(&path, &to.join(name))?,
            false => drop(std::fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

/// All that such files say is true, and was said before.
#[tokio::test]
async fn a_node_that_has_more_than_its_files_is_told() -> Result<()> {
    let (folder, aside) = (Folder::fresh("verify-older"), Folder::fresh("verify-aside"));
    let (node, older) = (folder.path().join("node-2"), aside.path().join("older"));
    let start = || Processes::start_in(&folder, &["--port", "0"], &TIGHT);
    let cluster = start()?;
    let doc = Rest::new(&cluster.ready.http, &cluster.ready.token);
    let doc = doc.create("Minutes", "One.").await?;
    cluster.stop();
    copy(&node, &older)?;
    let cluster = start()?;
    let rest = Rest::new(&cluster.ready.http, &cluster.ready.token);
    Typist::open(&rest, &doc).await?.append(" Two.").await?;
    let (code, said) = verify(&[], folder.path())?;
    assert_eq!(code, 0, "{said}");
    std::fs::rename(&node, aside.path().join("now"))?;
    std::fs::rename(&older, &node)?;
    let (code, said) = verify(&[], folder.path())?;
    assert_eq!(code, 1, "{said}");
    let lie = "LIE: node 2, as it runs, group ";
    assert!(
        said.contains(lie) && said.contains("its files end with entry"),
        "{said}"
    );
    cluster.kill()
}

#[test]
fn a_folder_that_holds_no_node_is_no_lie() -> Result<()> {
    let folder = Folder::fresh("verify-nothing");
    let (code, said) = verify(&[], folder.path())?;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("holds no node"), "{said}");
    Ok(())
}
