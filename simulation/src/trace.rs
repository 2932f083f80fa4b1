//! The trace: all that happened, a line each, with simulated time. It is hashed as it comes, and
//! kept only where somebody wants to read it.
//!
//! Lines come from the clients (frames), the driver (faults, starts), the streams (what was
//! sent and received), and through `tracing` from Codraft's own log.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use crate::{memory, overrides};
use parking_lot::Mutex;

#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hasher: blake3::Hasher,
    line: String,
    text: Option<String>,
}

impl Trace {
    pub fn new(keep: bool) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                hasher: blake3::Hasher::new(),
                line: String::new(),
                text: keep.then(String::new),
            })),
        }
    }

    pub fn line(&self, line: fmt::Arguments<'_>) {
        memory::aside(|| self.write(line));
    }

    fn write(&self, line: fmt::Arguments<'_>) {
        let at = overrides::elapsed();
        let mut inner = self.inner.lock();
        let Inner {
            hasher,
            line: buffer,
            text,
        } = &mut *inner;
        buffer.clear();
        // Writing to a string does not fail.
        let _ = writeln!(
            buffer,
            "{:>4}.{:06} {line}",
            at.as_secs(),
            at.subsec_micros()
        );
        hasher.update(buffer.as_bytes());
        if let Some(text) = text {
            text.push_str(buffer);
        }
    }

    /// All of it, where it was kept.
    pub fn text(&self) -> Option<String> {
        let inner = self.inner.lock();
        inner.text.clone()
    }

    /// The whole trace in 128 bits.
    pub fn hash(&self) -> String {
        let inner = self.inner.lock();
        inner.hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// The first `digits` of a hash.
pub fn short(bytes: &[u8], digits: usize) -> String {
    blake3::hash(bytes).to_hex()[..digits].to_owned()
}

macro_rules! line {
    ($trace:expr, $($part:tt)*) => { $trace.line(format_args!($($part)*)) };
}
pub(crate) use line;
