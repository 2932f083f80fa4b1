//! The trace: all that happened, a line each, with simulated time.
//!
//! Lines come from the clients (frames), the driver (kills, starts), and through `tracing` from
//! turmoil (every segment sent, delivered, received, dropped) and from Codraft's own log.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::overrides;

#[derive(Clone, Default)]
pub struct Trace {
    text: Arc<Mutex<String>>,
}

impl Trace {
    pub fn line(&self, line: fmt::Arguments<'_>) {
        let at = overrides::elapsed();
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:>4}.{:06} {line}", at.as_secs(), at.subsec_micros());
    }

    pub fn text(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The whole trace in 128 bits.
    pub fn hash(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        short(text.as_bytes(), 32)
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

/// Writes events into the trace. Spans are of no interest.
pub struct Tracer {
    trace: Trace,
}

impl Tracer {
    pub fn new(trace: Trace) -> Self {
        Self { trace }
    }
}

impl Subscriber for Tracer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let ours = target.starts_with("codraft") && *metadata.level() <= Level::DEBUG;
        metadata.is_event() && (target == "turmoil" || ours)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // One a tick, and the tick is in the time already.
        if fields.message.starts_with("step ") {
            return;
        }
        let target = event.metadata().target();
        self.trace
            .line(format_args!("{target} {}{}", fields.message, fields.rest));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        /// What is longer is a payload, and its hash tells as much.
        const LONGEST: usize = 160;
        let mut value = format!("{value:?}");
        if value.len() > LONGEST {
            value = format!("{}#{}", value.len(), short(value.as_bytes(), 16));
        }
        if field.name() == "message" {
            self.message = value;
        } else {
            let _ = write!(self.rest, " {}={value}", field.name());
        }
    }
}
