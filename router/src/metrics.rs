//! What the router counts, as Prometheus text. Handles are made once: counting an
//! operation is an atomic addition.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use codraft_proto::reject::Code;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

type Labels = [(&'static str, &'static str); 1];

/// Seconds; from a keystroke within one machine to a failover that went wrong.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.5, 10.0,
];

/// Frames that clients send.
#[derive(Clone, Copy)]
pub enum Received {
    Hello,
    Op,
    Presence,
    Check,
    Auth,
    Ping,
    Here,
}

const RECEIVED: [&str; 7] = ["hello", "op", "presence", "check", "auth", "ping", "here"];

/// What came of a check.
#[derive(Clone, Copy)]
pub enum Checked {
    Same,
    Differs,
    /// Of a revision that is not the document's any more, or with an operation under way.
    Stale,
    /// Too soon after the one before.
    Limited,
    /// No node said what the document is.
    Unknown,
}

const CHECKED: [&str; 5] = ["same", "differs", "stale", "limited", "unknown"];

pub struct Metrics {
    registry: Mutex<Registry>,
    pub sockets: Gauge,
    pub hubs: Gauge,
    pub links: Gauge,
    /// Documents that cannot be saved at the moment.
    pub saving: Gauge,
    received: Vec<Counter>,
    rejects: BTreeMap<Code, Counter>,
    closes: BTreeMap<Code, Counter>,
    checks: Vec<Counter>,
    /// Clients whose text was not the document's.
    pub divergences: Counter,
    pub events: Counter,
    pub messages: Counter,
    pub written_bytes: Counter<u64, AtomicU64>,
    pub resubmitted: Counter,
    pub resyncs: Counter,
    /// From the client's operation to its event here, in seconds.
    pub saved: Histogram,
    /// From the loss of a document's feed to its return, in seconds.
    pub failover: Histogram,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("codraft_router");
        let mut by = |name: &str, help: &str| {
            let family = Family::<Labels, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let frames = by("frames_received", "Frames that clients sent");
        let rejects = by("rejects", "What was refused, by code");
        let closes = by("closes", "Sockets that were closed, by code");
        let checks = by(
            "checks",
            "What clients said their text is, by what came of it",
        );
        let of = |family: &Family<Labels, Counter>, name, value| {
            Counter::clone(&family.get_or_create(&[(name, value)]))
        };
        let codes = |family: &Family<Labels, Counter>| {
            Code::ALL
                .iter()
                .map(|c| (*c, of(family, "code", c.as_str())))
                .collect()
        };
        let metrics = Self {
            sockets: Gauge::default(),
            hubs: Gauge::default(),
            links: Gauge::default(),
            saving: Gauge::default(),
            received: RECEIVED
                .iter()
                .map(|kind| of(&frames, "kind", kind))
                .collect(),
            rejects: codes(&rejects),
            closes: codes(&closes),
            checks: CHECKED
                .iter()
                .map(|outcome| of(&checks, "outcome", outcome))
                .collect(),
            divergences: Counter::default(),
            events: Counter::default(),
            messages: Counter::default(),
            written_bytes: Counter::default(),
            resubmitted: Counter::default(),
            resyncs: Counter::default(),
            saved: Histogram::new(SECONDS),
            failover: Histogram::new(SECONDS),
            registry: Mutex::default(),
        };
        metrics.register(&mut registry);
        *metrics.registry.lock() = registry;
        Arc::new(metrics)
    }

    fn register(&self, r: &mut Registry) {
        r.register("sockets", "Open sockets", self.sockets.clone());
        r.register("hubs", "Documents that are followed", self.hubs.clone());
        r.register("links", "Nodes that are linked", self.links.clone());
        r.register(
            "saving",
            "Documents without a leader in reach",
            self.saving.clone(),
        );
        r.register(
            "events",
            "Events of documents that arrived",
            self.events.clone(),
        );
        r.register(
            "messages",
            "WebSocket messages written",
            self.messages.clone(),
        );
        let written = self.written_bytes.clone();
        r.register_with_unit(
            "written",
            "Payload written to sockets",
            Unit::Bytes,
            written,
        );
        let resubmitted = self.resubmitted.clone();
        r.register(
            "resubmitted",
            "Operations sent to a node again",
            resubmitted,
        );
        r.register(
            "resyncs",
            "Feeds that were followed anew",
            self.resyncs.clone(),
        );
        r.register(
            "divergences",
            "Clients whose text was not the document's",
            self.divergences.clone(),
        );
        let saved = self.saved.clone();
        r.register_with_unit(
            "saved",
            "From an operation to its event",
            Unit::Seconds,
            saved,
        );
        let failover = self.failover.clone();
        let help = "From the loss of a feed to its return";
        r.register_with_unit("failover", help, Unit::Seconds, failover);
    }

    pub fn received(&self, kind: Received) {
        self.received[kind as usize].inc();
    }

    pub fn checked(&self, outcome: Checked) {
        self.checks[outcome as usize].inc();
    }

    pub fn rejected(&self, code: Code) {
        if let Some(counter) = self.rejects.get(&code) {
            counter.inc();
        }
    }

    pub fn closed(&self, code: Code) {
        if let Some(counter) = self.closes.get(&code) {
            counter.inc();
        }
    }

    /// The exposition format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::new();
        metrics.received(Received::Op);
        metrics.rejected(Code::Rate);
        metrics.saved.observe(0.003);
        let text = metrics.text();
        for line in [
            "codraft_router_frames_received_total{kind=\"op\"} 1",
            "codraft_router_rejects_total{code=\"rate\"} 1",
            "codraft_router_saved_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
