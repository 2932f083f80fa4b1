//! The harness itself: what it folds without a server is what the recordings end at.

use anyhow::Result;
use codraft_e2e::traces;

#[test]
fn folding_a_recording_gives_its_text() -> Result<()> {
    for name in ["friendsforever", "rustcode"] {
        if let Some(trace) = traces::load(name)? {
            let expected = trace.end_content.clone();
            let all = trace.txns.len();
            assert!(trace.first(all)?.end_content == expected, "{name}");
        }
    }
    for seed in 0..5 {
        let trace = traces::generated(500, seed);
        let expected = trace.end_content.clone();
        assert_eq!(trace.first(500)?.end_content, expected, "seed {seed}");
    }
    Ok(())
}
