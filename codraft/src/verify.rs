//! `codraft verify`: what nodes keep, proven from their files; and whether a receipt is one. Exit code 0
//! where all of it is what was applied, 1 where something lies, 2 where nothing is known.

mod live;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use codraft_proto::{
    frame::json::hex,
    receipt::{self, PublicKey, Signed},
};
use codraft_verify::{Attested, Counts, Nodes, Options, Report};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{files, layout::Layout, token};

const LIES: u8 = 1;
const NOT_KNOWN: u8 = 2;
/// How often people are told where it is.
const TOLD_EVERY: Duration = Duration::from_millis(100);
/// Columns of a line that is written over.
const LINE: usize = 79;

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The folder of a node, or of a cluster whose nodes are below it; .codraft when not given. They
    /// may run.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Check a receipt: a file as `GET …/receipt` answers it. With --data that all files make of the
    /// document what it says, too.
    #[arg(long)]
    receipt: Option<PathBuf>,
    /// The cluster's public key for receipts: 64 hex digits, or a file that has them, or a `keys.toml`.
    /// Without it that of the cluster's folder.
    #[arg(long, requires = "receipt")]
    key: Option<String>,
}

impl VerifyArgs {
    fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(".codraft"))
    }
}

pub async fn run(args: VerifyArgs) -> ExitCode {
    let result = match &args.receipt {
        None => files_of(args.data(), None).await,
        Some(file) => receipt(&args, file).await,
    };
    result.unwrap_or_else(|error| not_known(&format!("{error:#}")))
}

/// All that the nodes of a folder keep, and that it is what a receipt says.
async fn files_of(data: &Path, attested: Option<Attested>) -> Result<ExitCode> {
    let folders = codraft_verify::node_folders(data)?;
    let nodes = live::Cluster::of(data)?;
    let nodes = nodes.as_ref().map(|nodes| nodes as &dyn Nodes);
    let line = Line::new();
    let options = Options {
        nodes,
        attested,
        ..Options::default()
    };
    let report = codraft_verify::verify(&folders, options, &|what| line.show(what)).await;
    line.clear();
    Ok(told(&report?))
}

/// Whether the cluster signed it. The key that is in a receipt says nothing of that.
async fn receipt(args: &VerifyArgs, file: &Path) -> Result<ExitCode> {
    let key = cluster_key(args)?;
    let text = files::read(file)?;
    let checked = Signed::parse(text.as_bytes()).and_then(|signed| {
        signed.check(&key)?;
        Ok(signed.receipt)
    });
    let receipt = match checked {
        Ok(receipt) => receipt,
        Err(error) => {
            println!("LIE: {}: {error}", file.display());
            return Ok(ExitCode::from(LIES));
        }
    };
    let entry = receipt.entry.map_or_else(
        || "an entry that only the archive has".to_owned(),
        |entry| format!("entry {} of term {}", entry.index, entry.term),
    );
    println!(
        "document {} of cluster {:?} had the hash {} at revision {}: {entry} of group {}",
        receipt.doc,
        receipt.cluster,
        hex(&receipt.hash),
        receipt.rev,
        receipt.group
    );
    let Some(data) = &args.data else {
        println!("ok: the cluster signed it");
        return Ok(ExitCode::SUCCESS);
    };
    let attested = Attested {
        file: file.to_owned(),
        doc: receipt.doc,
        rev: receipt.rev,
        hash: receipt.hash,
    };
    files_of(data, Some(attested)).await
}

fn cluster_key(args: &VerifyArgs) -> Result<PublicKey> {
    let Some(given) = &args.key else {
        let file = Layout::new(args.data()).keys();
        let without = || {
            format!(
                "no key to check with: {} has no [receipt]; name it with --key",
                file.display()
            )
        };
        return token::receipt_public_key(&file)?.with_context(without);
    };
    if let Ok(key) = receipt::public_key(given) {
        return Ok(key);
    }
    let file = Path::new(given);
    let text = files::read(file)?;
    match receipt::public_key(text.trim()) {
        Ok(key) => Ok(key),
        Err(error) => token::receipt_public_key(file)
            .ok()
            .flatten()
            .with_context(|| format!("{given} is neither a key nor a file with one: {error}")),
    }
}

fn not_known(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("Error: {error}");
    ExitCode::from(NOT_KNOWN)
}

fn told(report: &Report) -> ExitCode {
    let Counts {
        nodes,
        documents,
        events,
        pages,
        objects,
        entries,
        bytes,
        told,
        comparisons,
    } = report.counts;
    println!(
        "{nodes} nodes: {documents} documents told again from {events} events, {pages} pages, \
         {objects} objects of archives, {entries} entries of logs applied again, {told} documents \
         as nodes have them now, {comparisons} comparisons of nodes; {} MiB of pages, manifests and \
         archives",
        bytes >> 20
    );
    if !report.confirmed.is_empty() {
        let nodes = report.confirmed.len();
        println!("the files of {nodes} nodes make of the document what the receipt says");
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    for lie in report.lies() {
        println!("LIE: {lie}");
    }
    if report.more > 0 {
        println!("and {} more", report.more);
    }
    match report.is_clean() {
        true => {
            println!("ok");
            ExitCode::SUCCESS
        }
        false => ExitCode::from(LIES),
    }
}

/// The line that says where it is, for people alone.
struct Line {
    shown: Option<Mutex<Option<Instant>>>,
}

impl Line {
    fn new() -> Self {
        let is_for_people = std::io::stderr().is_terminal();
        Self {
            shown: is_for_people.then(Mutex::default),
        }
    }

    fn show(&self, what: &str) {
        let Some(shown) = &self.shown else { return };
        let mut last = shown.lock();
        if last.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        let from = what
            .char_indices()
            .rev()
            .nth(LINE - 1)
            .map_or(0, |(at, _)| at);
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", &what[from..]);
    }

    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
