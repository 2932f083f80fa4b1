//! Recorded typing through real processes: every observer ends at the recording's text, and
//! chain hashes agree at every revision that two of them saw.

use anyhow::Result;
use codraft_e2e::{
    gaps::Gaps,
    processes::Processes,
    replay::{check_marks, replay},
    rest::Rest,
    traces, travel,
};

/// Typing without a recording: two people, each seeing the other half a second late.
const SOME: usize = 400;
/// So many revisions are read once more, as history tells them.
const VERSIONS: usize = 1_000;

#[tokio::test]
async fn recordings_end_at_their_text() -> Result<()> {
    let often = [("CODRAFT_LIMITS__REQUESTS_PER_SECOND", "100000")];
    let processes = Processes::start("traces", &[], &often)?;
    let rest = Rest::new(&processes.ready.http, &processes.ready.token);
    // In a debug build a part of each is enough; CODRAFT_WHOLE=1 plays them to the end.
    let whole = std::env::var_os("CODRAFT_WHOLE").is_some();
    for name in ["friendsforever", "automerge-paper", "rustcode"] {
        let trace = match traces::load(name)? {
            Some(trace) if whole => trace,
            Some(trace) => trace.first(3_000)?,
            None => traces::generated(SOME, 7),
        };
        let played = replay(&rest, trace, &Gaps::default()).await?;
        assert_eq!(played.text, played.expected, "{name}");
        assert_eq!(
            played.rev,
            played.operations + 1,
            "{name}: one revision an operation"
        );
        let marks = check_marks(&played.marks)?;
        assert!(marks > 1, "{name}: no marks");
        travel::check(&rest, &played.doc, &played.told, VERSIONS, 7).await?;
        println!(
            "{name}: {} operations, {marks} revisions with agreeing hashes",
            played.operations
        );
    }
    Ok(())
}
