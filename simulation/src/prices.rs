//! How long work takes: a price for each kind that the product counts
//! (`mutant/src/cost.rs`), and the command that measures them, `prices`.

use std::{hint::black_box, process::ExitCode, time::Duration};

use codraft_mutant::cost::{KINDS, Spent, Work};
use codraft_ot::{Content, Delta, Kind, Limits, Value};
use codraft_proto::frame::json;

use crate::overrides::kernel_clock;

/// Picoseconds each, in the order of `Work`: as `make sim ARGS="prices"` printed them on the
/// two cores of the machine that plays the gate, rounded. A message's is what the hand-offs of
/// one cost under load.
const PICOSECONDS: [u64; KINDS] = [
    60_000,    // Transformed
    380_000,   // Applied
    500_000,   // Decoded
    260_000,   // Spelled
    640_000,   // Json
    250,       // Bytes
    2_000_000, // Sent
];

/// How long all of it takes.
pub fn time(spent: &Spent) -> Duration {
    let each = spent.iter().zip(PICOSECONDS);
    let picoseconds: u64 = each.map(|(count, price)| count * price).sum();
    Duration::from_nanos(picoseconds / 1_000)
}

/// Measures the prices on this machine.
#[derive(Debug, clap::Args)]
pub struct Prices {}

impl Prices {
    pub fn run(&self) -> ExitCode {
        const PIECES: u32 = 100_000;
        let limits = Limits::default().of_document();
        let mut rich = Delta::new();
        for n in 0..PIECES {
            let bold = [("b".into(), Value::Bool(n % 2 == 0))];
            rich.insert_with("x", bold.into());
        }
        rich.insert("\n");
        let bytes = rich.to_bytes();
        let content = Content::from_delta(Kind::Rich, &rich, &limits).unwrap_or_else(|_| empty());
        let mut one = Delta::new();
        one.retain(1).insert("x");
        let text = "x".repeat(1 << 20);
        let print = |work: Work, count: u32, took: Duration| {
            let each = took.as_nanos() as f64 / f64::from(count);
            let price = PICOSECONDS[work as usize] as f64 / 1_000.0;
            println!("{work:?}: {each:.2} ns, reckoned with {price} ns");
        };
        print(
            Work::Transformed,
            PIECES * 4,
            timed(|| {
                for _ in 0..PIECES {
                    black_box(one.transform(black_box(&one), true));
                }
            }),
        );
        print(
            Work::Applied,
            PIECES,
            timed(|| {
                black_box(Content::from_delta(Kind::Rich, &rich, &limits).is_ok());
            }),
        );
        print(
            Work::Decoded,
            PIECES,
            timed(|| {
                black_box(Delta::decode(&bytes, &limits).is_ok());
            }),
        );
        print(
            Work::Spelled,
            PIECES,
            timed(|| {
                black_box(content.to_delta().to_bytes());
            }),
        );
        print(
            Work::Json,
            PIECES,
            timed(|| {
                let mut spelling = json::Spelling::new(bytes.clone().into());
                while spelling.step().is_ok_and(|whole| !whole) {}
                black_box(spelling.into_bytes());
            }),
        );
        print(
            Work::Bytes,
            64 << 20,
            timed(|| {
                for _ in 0..64 {
                    black_box(black_box(&text).clone());
                }
            }),
        );
        ExitCode::SUCCESS
    }
}

fn empty() -> Content {
    Content::new(Kind::Rich)
}

fn timed(f: impl FnOnce()) -> Duration {
    let before = kernel_clock();
    f();
    kernel_clock().saturating_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_paste_that_is_copied_for_each_event_takes_long() {
        let mut spent = Spent::default();
        spent[Work::Transformed as usize] = 4 * 4_096;
        assert!(time(&spent) < Duration::from_millis(1));
        spent[Work::Bytes as usize] = 4_096 * (256 << 10);
        assert!(time(&spent) > Duration::from_millis(200));
    }
}
