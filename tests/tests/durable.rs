//! What was marked saved is on a majority of disks, and a disk that lost its memory has no say.
#![allow(clippy::disallowed_methods)] // outside the product: files, clocks, children

use codraft_proto::ids::Revision;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{
    processes::{Folder, Processes, kill, until},
    rest::Rest,
    socket::{Socket, fresh_client},
    typist::Typist,
};
use codraft_proto::frame::{At, ServerFrame};
use tokio::time::{sleep, timeout};

fn rest(processes: &Processes) -> Rest {
    Rest::new(&processes.ready.http, &processes.ready.token)
}

// ---- fdatasync on a majority before each acknowledgement --------------------------------------

/// A system call tracer on one process.
struct Tracer {
    child: Child,
    output: PathBuf,
}

impl Tracer {
    /// `None`: there is no strace, or it may not look at processes here.
    async fn attach(pid: u32, output: PathBuf) -> Result<Option<Tracer>> {
        let child = Command::new("strace")
            .args([
                "-f",
                "-ttt",
                "-T",
                "-e",
                "trace=fdatasync",
                "-p",
                &pid.to_string(),
                "-o",
            ])
            .arg(&output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else { return Ok(None) };
        let mut tracer = Tracer { child, output };
        for _ in 0..400 {
            if tracer.child.try_wait()?.is_some() {
                return Ok(None);
            }
            let traced = all_traced(pid);
            if traced {
                return Ok(Some(tracer));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }

    /// When each sync that succeeded was over, in microseconds since the Unix epoch.
    fn syncs(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        text.lines().filter_map(sync_of).collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Its polite end detaches; what it looked at lives on.
        kill(self.child.id(), libc::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Whether every thread of a process has a tracer.
fn all_traced(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|pid| pid.trim() != "0")
    })
}

/// `pid time fdatasync(n) = 0 <took>`, or its second half, whose time is the end's.
fn sync_of(line: &str) -> Option<u64> {
    let (_, rest) = line.trim_start().split_once(char::is_whitespace)?;
    let (time, call) = rest.trim_start().split_once(' ')?;
    let (_, result) = call.rsplit_once('=')?;
    let result = result.trim();
    if !call.contains("fdatasync") || result.split_whitespace().next() != Some("0") {
        return None;
    }
    let at = micros(time)?;
    if call.contains("resumed>") {
        return Some(at);
    }
    let took = result
        .rsplit_once('<')
        .and_then(|(_, took)| micros(took.trim_end_matches('>')));
    Some(at + took.unwrap_or(0))
}

fn micros(seconds: &str) -> Option<u64> {
    let (whole, part) = seconds.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + format!("{part:0<6}")[..6].parse::<u64>().ok()?)
}

fn now_micros() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros(),
    )?)
}

#[test]
fn lines_of_the_tracer_are_read() {
    let whole = "812   1700000000.000100 fdatasync(7)      = 0 <0.000300>";
    assert_eq!(sync_of(whole), Some(1_700_000_000_000_400));
    let half = "812   1700000000.000900 <... fdatasync resumed>) = 0 <0.000700>";
    assert_eq!(sync_of(half), Some(1_700_000_000_000_900));
    for other in [
        "812   1700000000.000100 fdatasync(7 <unfinished ...>",
        "812   1700000000.000100 fdatasync(7)      = -1 EIO (Input/output error) <0.000300>",
        "812   1700000000.000100 +++ exited with 0 +++",
    ] {
        assert_eq!(sync_of(other), None, "{other}");
    }
}

#[tokio::test]
async fn a_majority_syncs_before_each_acknowledgement() -> Result<()> {
    const OPERATIONS: usize = 50;
    let folder = Folder::fresh("syncs");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let rest = rest(&processes);
    let doc = rest.create("synced", "start ").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    typist.append("warm ").await?;
    let mut tracers = Vec::new();
    for node in processes.state()?.nodes {
        let output = folder.path().join(format!("strace-{}", node.id));
        match Tracer::attach(node.pid, output).await? {
            Some(tracer) => tracers.push(tracer),
            None => {
                eprintln!("LEFT OUT: strace is missing or may not attach here; syncs are not seen");
                return Ok(());
            }
        }
    }
    ensure!(tracers.len() == 3, "three nodes");
    let mut spans = Vec::new();
    for number in 0..OPERATIONS {
        let sent = now_micros()?;
        typist.append(&format!("{number} ")).await?;
        spans.push((sent, now_micros()?));
        // So that one operation's late followers are not taken for the next one's.
        sleep(Duration::from_millis(5)).await;
    }
    // The tracer writes a line after the fact.
    let counts = || tracers.iter().map(|t| t.syncs().len()).collect::<Vec<_>>();
    until("the tracers' lines", || {
        counts().iter().filter(|n| **n >= OPERATIONS).count() >= 2
    })
    .await?;
    sleep(Duration::from_millis(200)).await;
    let syncs: Vec<Vec<u64>> = tracers.iter().map(Tracer::syncs).collect();
    for (number, (sent, acked)) in spans.iter().enumerate() {
        let synced = |times: &&Vec<u64>| times.iter().any(|at| (sent..=acked).contains(&at));
        let nodes = syncs.iter().filter(synced).count();
        assert!(
            nodes >= 2,
            "operation {number} was acknowledged with {nodes} disks synced"
        );
    }
    println!(
        "{OPERATIONS} acknowledgements, each after a sync on two disks; syncs: {:?}",
        counts()
    );
    Ok(())
}

// ---- A wiped disk ---------------------------------------------------------------------------

/// Whether `node` has written down which disk `of` has.
fn knows(folder: &Folder, node: u64, of: u64) -> bool {
    let peers = folder.path().join(format!("node-{node}")).join("peers");
    let text = std::fs::read_to_string(peers).unwrap_or_default();
    text.lines().any(|line| line.starts_with(&format!("{of} ")))
}

#[tokio::test]
async fn a_wiped_node_is_refused_by_its_peers() -> Result<()> {
    let folder = Folder::fresh("wiped");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let rest = rest(&processes);
    let doc = rest.create("kept", "start ").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    for _ in 0..10 {
        typist.append("before ").await?;
    }
    until("the disks are on record", || {
        knows(&folder, 1, 3) && knows(&folder, 2, 3)
    })
    .await?;

    // Its disk is gone while it is down; it comes back under its old id, with an empty one.
    let own = folder.path().join("node-3");
    std::fs::rename(&own, folder.path().join("node-3-lost"))?;
    let pid = processes.signal(3, libc::SIGKILL)?;
    processes.all_alive(&[pid]).await?;
    let refused_by = |node: u64| {
        let name = format!("node-{node}");
        let refusal = |line: &str| line.starts_with(&name) && line.contains("node 3 had disk");
        folder.log().lines().any(refusal)
    };
    until("both peers refuse it", || refused_by(1) && refused_by(2)).await?;
    ensure!(
        own.join("identity").is_file(),
        "it came back as somebody new"
    );
    for _ in 0..20 {
        typist.append("beside ").await?;
    }

    // And it is no voter: with one true node gone there is no majority, whatever it says.
    processes.signal(2, libc::SIGSTOP)?;
    let started = typist.send(0, "alone ").await?;
    let alone = timeout(Duration::from_secs(4), typist.saved(started)).await;
    processes.signal(2, libc::SIGCONT)?;
    ensure!(
        alone.is_err(),
        "one true node and a wiped one acknowledged: {alone:?}"
    );
    typist.saved(started).await?;
    typist.append("after").await?;
    let expected = format!(
        "alone start {}{}after",
        "before ".repeat(10),
        "beside ".repeat(20)
    );
    assert_eq!(typist.text(), expected);
    assert_eq!(Typist::open(&rest, &doc).await?.text(), expected);
    Ok(())
}

// ---- Router inside a node ---------------------------------------------------------------------

#[tokio::test]
async fn a_router_inside_a_node_serves() -> Result<()> {
    let processes = Processes::start("joined", &["--joined"], &[])?;
    let state = processes.state()?;
    ensure!(
        state.nodes.len() == 3 && state.router.is_none(),
        "three processes: {state:?}"
    );
    let rest = rest(&processes);
    let doc = rest.create("joined", "|").await?;
    let mut left = Typist::open(&rest, &doc).await?;
    let mut right = Typist::open(&rest, &doc).await?;
    let type_left = async {
        for _ in 0..40 {
            left.prepend("😀a").await?;
        }
        anyhow::Ok(left.rev)
    };
    let type_right = async {
        for _ in 0..40 {
            right.append("b").await?;
        }
        anyhow::Ok(right.rev)
    };
    let (a, b) = tokio::try_join!(type_left, type_right)?;
    let head = a.max(b);
    left.reach(head).await?;
    right.reach(head).await?;
    assert_eq!(head, 81, "one revision an operation");
    assert_eq!(
        left.text(),
        format!("{}|{}", "😀a".repeat(40), "b".repeat(40))
    );
    assert_eq!(left.text(), right.text());
    Ok(())
}

// ---- Stopped and started again -------------------------------------------------------------------

struct Seen {
    doc: String,
    text: String,
    at: At,
}

/// Types so much, and says what a new reader is then welcomed with.
async fn type_some(processes: &Processes, operations: usize) -> Result<Seen> {
    let rest = rest(processes);
    let doc = rest.create("kept", "start ").await?;
    let mut typist = Typist::open(&rest, &doc).await?;
    for number in 0..operations {
        typist.append(&format!("{number} 😀 ")).await?;
    }
    let reader = Typist::open(&rest, &doc).await?;
    let (rev, hash) = *reader.marks.last().context("a welcome has a hash")?;
    ensure!(
        rev == typist.rev && reader.text() == typist.text(),
        "a reader sees what was typed"
    );
    Ok(Seen {
        doc,
        text: typist.text(),
        at: At {
            rev: Revision(rev),
            hash,
        },
    })
}

/// The document as it was, to a reader who comes anew and to one who resumes; and it can be
/// typed in.
async fn is_still_there(processes: &Processes, seen: &Seen) -> Result<()> {
    let rest = rest(processes);
    let mut typist = Typist::open(&rest, &seen.doc).await?;
    assert_eq!(typist.text(), seen.text);
    assert_eq!(
        typist.marks.last(),
        Some(&(seen.at.rev.0, seen.at.hash)),
        "revision and chain hash"
    );
    let (mut socket, welcome) =
        Socket::open(&rest, &seen.doc, fresh_client(), Some(seen.at), false).await?;
    ensure!(
        welcome.resumed() && welcome.rev == seen.at.rev,
        "resumed: {welcome:?}"
    );
    let acked = typist.append("more").await?;
    assert_eq!(acked.rev, seen.at.rev.0 + 1);
    while !matches!(socket.next().await?, ServerFrame::Op(op) if op.rev == Revision(acked.rev)) {}
    Ok(())
}

#[tokio::test]
async fn a_document_outlives_all_processes() -> Result<()> {
    let folder = Folder::fresh("restart");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let seen = type_some(&processes, 40).await?;
    processes.stop();
    let processes = Processes::start_in(&folder, &[], &[])?;
    is_still_there(&processes, &seen).await
}

// ---- A damaged log --------------------------------------------------------------------------------

/// Flips a bit in the middle of what a log holds.
fn damage(wal: &Path) -> Result<()> {
    let files = std::fs::read_dir(wal)?.flatten().map(|entry| entry.path());
    let mut segments: Vec<_> = files
        .filter(|p| p.extension().is_some_and(|e| e == "wal"))
        .collect();
    segments.sort();
    let first = segments.first().context("no segment")?;
    let mut bytes = std::fs::read(first)?;
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .context("an empty log")?;
    // Not in the zeros between records, which say nothing.
    let middle = (written / 2..written)
        .find(|at| bytes[*at] != 0)
        .context("no byte")?;
    bytes[middle] ^= 0x10;
    Ok(std::fs::write(first, bytes)?)
}

#[tokio::test]
async fn a_damaged_log_keeps_its_node_out() -> Result<()> {
    let folder = Folder::fresh("damaged");
    let processes = Processes::start_in(&folder, &[], &[])?;
    let seen = type_some(&processes, 60).await?;
    processes.stop();
    damage(&folder.path().join("node-2").join("wal"))?;

    let processes = Processes::start_in(&folder, &[], &[])?;
    let refuses =
        |line: &str| line.starts_with("node-2") && line.contains("the log is damaged in segment");
    until("it says why it does not start", || {
        folder.log().lines().any(refuses)
    })
    .await?;
    is_still_there(&processes, &seen).await?;
    // Tried again and again, it never comes to serve.
    until("it was started again", || {
        let state = processes.state();
        state.is_ok_and(|s| s.nodes.iter().any(|n| n.id == 2 && n.restarts >= 2))
    })
    .await?;
    let reads = folder.log().lines().filter(|line| refuses(line)).count();
    ensure!(reads >= 2, "refused {reads} times");
    let mut late = Typist::open(&rest(&processes), &seen.doc).await?;
    late.append("!").await?;
    assert_eq!(late.text(), format!("{}more!", seen.text));
    Ok(())
}
