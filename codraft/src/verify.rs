//! `codraft verify`: what nodes keep, proven from their files. Exit code 0 where all of it is what was
//! applied, 1 where something lies, 2 where nothing is known.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use codraft_verify::{Counts, Report};
use parking_lot::Mutex;
use tokio::time::Instant;

const LIES: u8 = 1;
const NOT_KNOWN: u8 = 2;
/// How often people are told where it is.
const TOLD_EVERY: Duration = Duration::from_millis(100);
/// Columns of a line that is written over.
const LINE: usize = 79;

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The folder of a node, or of a cluster whose nodes are below it. They may run.
    #[arg(long, default_value = ".codraft")]
    data: PathBuf,
}

pub async fn run(args: VerifyArgs) -> ExitCode {
    let folders = match codraft_verify::node_folders(&args.data) {
        Ok(folders) => folders,
        Err(error) => return not_known(&error),
    };
    let line = Line::new();
    let result = codraft_verify::verify(&folders, &|what| line.show(what)).await;
    line.clear();
    match result {
        Ok(report) => told(&report),
        Err(error) => not_known(&error),
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
        comparisons,
    } = report.counts;
    println!(
        "{nodes} nodes: {documents} documents told again from {events} events, {pages} pages, \
         {objects} objects of archives, {entries} entries of logs applied again, {comparisons} \
         comparisons; {} MiB of pages, manifests and archives",
        bytes >> 20
    );
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
