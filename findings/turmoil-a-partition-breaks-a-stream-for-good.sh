#!/usr/bin/env bash
# turmoil 0.7.2, tokio 1.54.1.
#
# Expected: a simulated TCP stream outlives a short partition, as a real one does: what was lost is
# sent again, and what is written after `repair` arrives.
# What happens: the lost segment is never sent again. Whatever comes after it waits for it, so that
# the reader gets nothing more while every write is Ok; after five minutes of simulated time there
# is neither an error nor an end. A test that partitions and heals sees links that hang for good
# unless the code under test has its own deadline, and one that only awaits an error never ends.
# `hold` and `release` delay without loss.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
tokio = { version = "=1.54.1", features = ["io-util", "rt", "time"] }
turmoil = "=0.7.2"
END
cat >src/main.rs <<'END'
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

/// What a server got, of "one" sent before, "two" while the link is out, "three" right after
/// and "four" five minutes after; with `None` at the end if its stream ended or failed.
fn received(out: fn(), back: fn()) -> Vec<Option<String>> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(900))
        .build();
    let seen = got.clone();
    sim.host("server", move || {
        let seen = seen.clone();
        async move {
            let (mut stream, _) = TcpListener::bind("0.0.0.0:7000").await?.accept().await?;
            let mut buffer = [0; 64];
            loop {
                let read = stream
                    .read(&mut buffer)
                    .await
                    .ok()
                    .filter(|length| *length > 0);
                let text = read.map(|length| String::from_utf8_lossy(&buffer[..length]).into());
                seen.lock().unwrap().push(text);
                if read.is_none() {
                    return Ok(());
                }
            }
        }
    });
    sim.client("client", async move {
        let mut stream = TcpStream::connect("server:7000").await?;
        stream.write_all(b"one").await?;
        sleep(Duration::from_secs(1)).await;
        out();
        stream.write_all(b"two").await?;
        sleep(Duration::from_secs(1)).await;
        back();
        stream.write_all(b"three").await?;
        sleep(Duration::from_secs(300)).await;
        stream.write_all(b"four").await?;
        sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    // The client's last drop ends the stream; only what came before it counts.
    sim.run().unwrap();
    let got = got.lock().unwrap().clone();
    got
}

fn main() {
    let texts = |got: &[Option<String>]| got.iter().flatten().cloned().collect::<String>();
    let held = received(
        || turmoil::hold("client", "server"),
        || turmoil::release("client", "server"),
    );
    println!("hold, release:      {held:?}");
    assert_eq!(texts(&held), "onetwothreefour");

    let cut = received(
        || turmoil::partition("client", "server"),
        || turmoil::repair("client", "server"),
    );
    println!("partition, repair:  {cut:?}");
    assert_eq!(texts(&cut), "one");
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
