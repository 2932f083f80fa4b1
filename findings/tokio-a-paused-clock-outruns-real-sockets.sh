#!/usr/bin/env bash
# tokio 1.54.1, `start_paused = true` (feature `test-util`).
#
# Expected: with the clock paused, no timeout fires before the test advances the clock.
# What happens: whenever the runtime has nothing to do it jumps to the next timer, and waiting for a
# socket counts as nothing to do. A read from a real TCP connection whose other end answers after
# 0.2 s runs into a timeout of one hour, within microseconds. A thread of `spawn_blocking` that is
# at work stops the jumps; a socket, or a thread of one's own, does not. Tests that mix the paused
# clock with a real server fail only where the answer is slower than the poll.
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
tokio = { version = "=1.54.1", features = ["io-util", "macros", "net", "rt", "test-util", "time"] }
END
cat >src/main.rs <<'END'
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// Whether a byte that is sent after 0.2 s is read within one hour of tokio's time.
async fn arrives(busy: bool) -> bool {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let _ = stream.write_all(b"x");
    });
    let work = busy.then(|| tokio::task::spawn_blocking(move || server.join().unwrap()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let start = Instant::now();
    let read = tokio::time::timeout(Duration::from_secs(3600), stream.read_u8()).await;
    println!(
        "blocking work {busy}: {read:?} after {} ms",
        start.elapsed().as_millis()
    );
    if let Some(work) = work {
        work.await.unwrap();
    }
    read.is_ok()
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    assert_eq!(arrives(false).await, false);
    assert_eq!(arrives(true).await, true);
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
