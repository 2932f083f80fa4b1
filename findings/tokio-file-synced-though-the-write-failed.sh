#!/usr/bin/env bash
# tokio 1.54.1, tokio::fs::File.
#
# Expected: when `write_all` and then `sync_all` of a file are Ok, the bytes are on the disk; that
# is how a log decides that it may acknowledge an entry. With std::fs it is so.
# What happens: `write_all` is Ok as soon as the bytes are handed to another thread, and the error
# of that write is kept for the next write or flush. `sync_all` waits for the write, keeps its error
# for later too, syncs what is there and says Ok. A Raft log that stops at `sync_all` acknowledges
# what was never written. `flush` before `sync_all` tells.
#
# The full disk is played by a limit on the file's size: 4 KiB are taken, the next write is EFBIG.
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
tokio = { version = "=1.54.1", features = ["fs", "io-util", "macros", "rt"] }
END
cat >src/main.rs <<'END'
use std::io::{ErrorKind, Write};
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let page = [7u8; 4096];

    let mut file = std::fs::File::create("std.log").unwrap();
    file.write_all(&page).unwrap();
    let second = file.write_all(&page).map_err(|error| error.kind());
    println!("std:   second write {second:?}");
    assert_eq!(second, Err(ErrorKind::FileTooLarge));

    let mut file = tokio::fs::File::create("tokio.log").await.unwrap();
    file.write_all(&page).await.unwrap();
    let second = file.write_all(&page).await.map_err(|error| error.kind());
    let synced = file.sync_all().await.map_err(|error| error.kind());
    let length = std::fs::metadata("tokio.log").unwrap().len();
    println!("tokio: second write {second:?}, sync_all {synced:?}, {length} of 8192 bytes written");
    assert_eq!((second, synced, length), (Ok(()), Ok(()), 4096));

    let mut file = tokio::fs::File::create("flushed.log").await.unwrap();
    file.write_all(&page).await.unwrap();
    file.write_all(&page).await.unwrap();
    let flushed = file.flush().await.map_err(|error| error.kind());
    println!("tokio: flush in place of sync_all {flushed:?}");
    assert_eq!(flushed, Err(ErrorKind::FileTooLarge));
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo build --quiet
# The signal that comes with EFBIG is ignored, so that the call returns its error.
(
    trap '' XFSZ
    ulimit -f 4
    ./target/debug/probe
)
