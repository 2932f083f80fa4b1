//! What comes through `tracing`: the log of nodes and routers into the trace, errors and what
//! nodes put on record to the recorder, each with the host whose turn it is.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    memory,
    recorder::Recorder,
    taps,
    trace::{Trace, line, short},
    turns,
};

/// What nodes put on record.
const RECORD: &str = taps::TARGET;
/// Added to the number of a router where a node's id is asked for.
const ROUTERS: u64 = 1_000;
/// turmoil enters it around each host's turn.
const TURN: &str = "node";

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
    /// A process is being ended.
    static SILENT: Cell<bool> = const { Cell::new(false) };
    /// Index into `NAMES`, and 1 more; 0 is the driver.
    static TURN_OF: Cell<u64> = const { Cell::new(0) };
    static NAMES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// How many times each node was started.
    static LIVES: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// From here on this thread's log is read.
pub fn install(trace: Trace, recorder: Recorder) -> anyhow::Result<()> {
    RECORDER.set(Some(recorder));
    tracing::subscriber::set_global_default(Tracer { trace })?;
    Ok(())
}

pub fn recorder() -> Option<Recorder> {
    RECORDER.with_borrow(Clone::clone)
}

/// A host's process was started again.
pub fn born(host: &str, life: u64) {
    LIVES.with_borrow_mut(|lives| lives.insert(host.to_owned(), life));
}

/// Runs `f`, which ends a process: nobody hears what its tasks say while they are dropped.
pub fn silenced<R>(f: impl FnOnce() -> R) -> R {
    SILENT.set(true);
    let result = f();
    SILENT.set(false);
    result
}

/// A host by its number, which is what its turns go by.
pub fn number_of(host: &str) -> u64 {
    NAMES.with_borrow_mut(|names| {
        let place = names.iter().position(|name| name == host);
        let place = place.unwrap_or_else(|| {
            names.push(host.to_owned());
            names.len() - 1
        });
        place as u64 + 1
    })
}

/// The host whose turn it is.
pub fn host() -> String {
    let number = TURN_OF.get();
    NAMES.with_borrow(|names| {
        let name = number.checked_sub(1).and_then(|n| names.get(n as usize));
        name.map_or_else(|| "driver".to_owned(), Clone::clone)
    })
}

struct Tracer {
    trace: Trace,
}

impl Tracer {
    fn record_of_node(event: &Event<'_>) {
        let host = host();
        // A router has no id of a node: it is told of by one that no node has.
        let router = |n: &str| n.parse::<u64>().ok().map(|n| ROUTERS + n);
        let number = match host.strip_prefix("node-") {
            Some(n) => n.parse().ok(),
            None => host.strip_prefix("router-").and_then(router),
        };
        let (Some(node), Some(recorder)) = (number, recorder()) else {
            return;
        };
        let life = LIVES.with_borrow(|lives| lives.get(&host).copied().unwrap_or(0));
        if let Some(seen) = taps::read(node, life, event) {
            recorder.note(seen);
        }
    }
}

impl Subscriber for Tracer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        if metadata.is_span() {
            return metadata.name() == TURN && target.starts_with("turmoil");
        }
        if target == RECORD {
            return true;
        }
        let most = if target.starts_with("codraft") {
            Level::DEBUG
        } else if target.starts_with("openraft") {
            Level::ERROR
        } else {
            return false;
        };
        *metadata.level() <= most
    }

    fn event(&self, event: &Event<'_>) {
        if SILENT.get() {
            return;
        }
        memory::aside(|| self.heard(event));
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut name = Name(0);
        attributes.record(&mut name);
        span::Id::from_u64(name.0.max(1))
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, id: &span::Id) {
        TURN_OF.set(id.into_u64());
        turns::begin(id.into_u64());
    }
    fn exit(&self, id: &span::Id) {
        TURN_OF.set(0);
        turns::end(id.into_u64());
    }
}

impl Tracer {
    fn heard(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if metadata.target() == RECORD {
            return Self::record_of_node(event);
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (host, target) = (host(), metadata.target());
        let Fields { message, rest } = fields;
        line!(self.trace, "{host} {target} {message}{rest}");
        if *metadata.level() == Level::ERROR
            && let Some(recorder) = recorder()
        {
            recorder.error_line(&host, format!("{target} {message}{rest}"));
        }
    }
}

/// Reads the field `name`.
struct Name(u64);

impl Visit for Name {
    fn record_str(&mut self, _: &Field, value: &str) {
        self.0 = number_of(value);
    }
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.0 = number_of(format!("{value:?}").trim_matches('"'));
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        /// What is longer is a payload, and its hash tells as much.
        const LONGEST: usize = 240;
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
            return;
        }
        let start = self.rest.len();
        let _ = write!(self.rest, " {}={value:?}", field.name());
        if self.rest.len() > start + LONGEST {
            let hash = short(&self.rest.as_bytes()[start..], 16);
            let length = self.rest.len() - start;
            self.rest.truncate(start);
            let _ = write!(self.rest, " {}={length}#{hash}", field.name());
        }
    }
}
