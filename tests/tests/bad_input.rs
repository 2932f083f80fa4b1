//! Hostile clients of every kind, on the very document where somebody honest types. Each gets
//! its code from the one table and is counted; the honest one notices nothing.
#![allow(clippy::disallowed_methods)] // a test's own tasks

mod hostile;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use codraft_e2e::{gaps::quantile, processes::Processes, rest::Rest, typist::Typist};
use codraft_proto::reject::Code;
use hostile::{Case, Scene};
use tokio::{
    task::spawn,
    time::{Instant, sleep},
};

/// So short that the test can wait for it; honest clients say hello at once.
const ENV: &[(&str, &str)] = &[
    ("CODRAFT_LIMITS__HELLO_MS", "1500"),
    // One user tries all of it.
    ("CODRAFT_LIMITS__OPENS_PER_SECOND", "1000"),
];
/// Operations without any abuse, to compare with.
const QUIET: usize = 200;
/// A person's fastest fingers, many times over.
const BETWEEN: Duration = Duration::from_millis(8);
/// The honest one's 99th percentile during the abuse: so many times the quiet one, or this.
const SLOWER: u32 = 5;
const FAST_ENOUGH: Duration = Duration::from_millis(100);
/// Hostile clients at once, in the second part.
const CROWD: usize = 3;

/// Types until told to stop, at least so many operations; how long each took.
async fn type_honestly(
    typist: &mut Typist,
    least: usize,
    stop: &AtomicBool,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while took.len() < least || !stop.load(Ordering::Relaxed) {
        let acked = typist.append("honest ").await;
        took.push(
            acked
                .with_context(|| format!("honest operation {}", took.len()))?
                .took,
        );
        sleep(BETWEEN).await;
    }
    took.sort_unstable();
    Ok(took)
}

/// What the router counted of refusals and of closed sockets, by code.
async fn counted(address: &str) -> Result<BTreeMap<String, u64>> {
    let request = http::Request::get("/metrics");
    let (_, text) = hostile::fetch(address, request, Vec::new()).await?;
    let text = String::from_utf8(text)?;
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        for family in [
            "codraft_router_rejects_total",
            "codraft_router_closes_total",
        ] {
            let labels = line
                .strip_prefix(family)
                .and_then(|l| l.strip_prefix("{code=\""));
            if let Some((code, count)) = labels.and_then(|l| l.split_once("\"} ")) {
                *counts.entry(code.to_owned()).or_default() += count.trim().parse::<u64>()?;
            }
        }
    }
    ensure!(counts.len() == Code::ALL.len(), "a counter for every code");
    Ok(counts)
}

/// Waits until a code was counted more often than before.
async fn is_counted(address: &str, code: Code, before: &BTreeMap<String, u64>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = counted(address).await?;
        if now.get(code.as_str()) > before.get(code.as_str()) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{} was not counted", code.as_str());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_code_and_harms_nobody() -> Result<()> {
    let processes = Processes::start("bad-input", &[], ENV)?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    // The first character is an astral one, two units: something to split.
    let doc = rest.create("abused", "😀 ").await?;
    let other = rest.create("another one", "").await?;
    rest.grant(&doc, "vera", "viewer").await?;
    for editor in ["eddy", "floyd", "polly"] {
        rest.grant(&doc, editor, "editor").await?;
    }
    let mut typist = Typist::open(&rest, &doc).await?;
    let scene = Arc::new(Scene::new(
        &processes,
        &rest,
        &doc,
        &other,
        typist.client(),
    )?);

    let quiet = type_honestly(&mut typist, QUIET, &AtomicBool::new(true)).await?;
    let over = Arc::new(AtomicBool::new(false));
    let honest = {
        let over = over.clone();
        spawn(async move {
            let took = type_honestly(&mut typist, QUIET, &over).await;
            (typist, took)
        })
    };

    // One after another: each code, and that it is counted.
    let mut wrong = Vec::new();
    let cases = hostile::cases(&scene);
    for case in &cases {
        if let Err(error) = alone(&scene, case).await {
            wrong.push(told(&case.name, &error));
        }
    }
    // All at once, for the honest one to notice.
    let crowd: Vec<_> = (0..CROWD)
        .map(|first| {
            let scene = scene.clone();
            spawn(async move {
                let mut wrong = Vec::new();
                let mut cases = hostile::cases(&scene);
                // One client at a time has a name: here each would replace the one before.
                cases.retain(|case| !case.name.starts_with(hostile::STOLEN_NAME));
                let from = first * cases.len() / CROWD;
                for case in cases.iter().cycle().skip(from).take(cases.len()) {
                    if let Err(error) = case.run(&scene).await {
                        wrong.push(told(&format!("in the crowd, {}", case.name), &error));
                    }
                }
                wrong
            })
        })
        .collect();
    for member in crowd {
        wrong.extend(member.await?);
    }
    over.store(true, Ordering::Relaxed);
    let (mut typist, abused) = honest.await?;
    let abused = abused?;
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );

    // Nobody else was harmed: every honest operation is there, once, for a new reader too.
    let mut reader = Typist::open(&rest, &doc).await?;
    typist.reach(reader.rev).await?;
    reader.reach(typist.rev).await?;
    assert_eq!(typist.text(), reader.text());
    let honest = reader.text().matches("honest ").count();
    assert_eq!(honest, quiet.len() + abused.len());
    let tail = |took: &[Duration]| (quantile(took, 0.5), quantile(took, 0.99));
    let (quiet, abused) = (tail(&quiet), tail(&abused));
    println!(
        "p50, p99 of an honest client: {quiet:?} alone, {abused:?} beside {} cases",
        cases.len()
    );
    let allowed = (quiet.1 * SLOWER).max(FAST_ENOUGH);
    assert!(
        abused.1 <= allowed,
        "p99 {:?}, quiet {:?}, allowed {allowed:?}",
        abused.1,
        quiet.1
    );
    let state = processes.state()?;
    assert!(state.all().all(|p| p.alive && p.restarts == 0), "{state:?}");
    Ok(())
}

/// Said at once too: a case that hangs takes its time.
fn told(name: &str, error: &anyhow::Error) -> String {
    let line = format!("{name}: {error:#}");
    eprintln!("{line}");
    line
}

async fn alone(scene: &Scene, case: &Case) -> Result<()> {
    let before = counted(&scene.address).await?;
    case.run(scene).await?;
    is_counted(&scene.address, case.code, &before).await
}
