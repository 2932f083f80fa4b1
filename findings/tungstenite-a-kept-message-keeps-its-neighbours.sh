#!/usr/bin/env bash
# tungstenite 0.29.0 (below tokio-tungstenite and axum's WebSockets), bytes 1.12.2.
#
# Expected: a text message of 121 bytes that is put aside (an operation in a document's history, an
# entry of a queue) costs about 121 bytes.
# What happens: a `Message` is a view into the buffer it was read from, which holds its neighbours
# as well and lives as long as any of them. Twenty messages, one of each thousand that arrive, keep
# all 2.4 MB that were read; the memory is a thousand times what a count of the kept lengths says. A
# copy (`to_owned`) of what is kept gives it back.
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
bytes = "=1.12.2"
tungstenite = { version = "=0.29.0", default-features = false }
END
cat >src/main.rs <<'END'
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Cursor, Read, Result, Write};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use tungstenite::{protocol::Role, WebSocket};

/// Counts the bytes that are allocated and not yet freed.
struct Counting;
static LIVE: AtomicIsize = AtomicIsize::new(0);
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Relaxed);
        System.alloc(layout)
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        System.dealloc(pointer, layout)
    }
}
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server that has sent its frames, and to which nothing is said.
struct Sent(Cursor<Vec<u8>>);
impl Read for Sent {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        self.0.read(into)
    }
}
impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let mut wire = Vec::new();
    for seq in 0..20_000 {
        let text = format!("{{\"seq\":{seq:06},\"insert\":\"{}\"}}", "a".repeat(95));
        wire.extend([0x81, text.len() as u8]);
        wire.extend(text.as_bytes());
    }
    let mut socket = WebSocket::from_raw_socket(Sent(Cursor::new(wire)), Role::Client, None);
    let mut kept = Vec::with_capacity(20);
    let before = LIVE.load(Relaxed);
    for seq in 0..20_000 {
        let message = socket.read().unwrap();
        if seq % 1000 == 0 {
            kept.push(message);
        }
    }
    let lengths: usize = kept.iter().map(|message| message.len()).sum();
    let held = LIVE.load(Relaxed) - before;
    println!(
        "{} messages kept, {lengths} bytes long, hold {held} bytes",
        kept.len()
    );
    assert!(held > 2_000_000);

    let copies: Vec<String> = kept
        .iter()
        .map(|m| m.to_text().unwrap().to_owned())
        .collect();
    drop(kept);
    let held = (LIVE.load(Relaxed) - before).max(0);
    println!(
        "{} copies in their place hold {held} bytes more than before",
        copies.len()
    );
    assert!(held < 200_000);
}
END
CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$work/target" cargo run --quiet
