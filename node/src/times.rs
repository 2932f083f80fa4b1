//! How long something took, counted without a lock: it is told under the lock of a group.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Up to where each bucket goes, in microseconds; the last one has no end.
const UP_TO_US: [u64; 24] = [
    50, 70, 100, 200, 300, 500, 700, 1_000, 2_000, 3_000, 5_000, 7_000, 10_000, 20_000, 30_000,
    50_000, 70_000, 100_000, 200_000, 300_000, 500_000, 1_000_000, 3_000_000, 10_000_000,
];

/// A histogram in seconds. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; UP_TO_US.len() + 1],
    sum_us: AtomicU64,
}

impl Times {
    pub fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = UP_TO_US.partition_point(|up_to| *up_to < us);
        self.0.buckets[bucket].fetch_add(1, Relaxed);
        self.0.sum_us.fetch_add(us, Relaxed);
    }
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let ends = UP_TO_US
            .iter()
            .map(|us| *us as f64 / 1e6)
            .chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = ends.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum_us.load(Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn each_time_is_in_the_first_bucket_that_reaches_it() {
        let (times, mut registry) = (Times::default(), Registry::default());
        registry.register("waits_seconds", "Waits", times.clone());
        for us in [1, 50, 51, 10_000_000, 10_000_001] {
            times.took(Duration::from_micros(us));
        }
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        for line in [
            "waits_seconds_count 5",
            "waits_seconds_bucket{le=\"0.00005\"} 2",
            "waits_seconds_bucket{le=\"0.00007\"} 3",
            "waits_seconds_bucket{le=\"3.0\"} 3",
            "waits_seconds_bucket{le=\"10.0\"} 4",
            "waits_seconds_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(out.lines().any(|of| of == line), "{line}: {out}");
        }
    }
}
