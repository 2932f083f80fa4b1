//! No bug that was planted for the simulation is in the command that people run.
#![allow(clippy::disallowed_methods)] // reads files, outside the product

use std::path::Path;

use anyhow::{Context, Result, ensure};
use codraft_e2e::processes::program;

/// The names in the list of planted bugs, which this build does not compile.
fn names() -> Result<Vec<String>> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mutant/src/list.rs");
    let text = std::fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let lines = text.lines().map(str::trim);
    let names = lines.filter_map(|line| line.strip_prefix("name: \"")?.strip_suffix("\","));
    Ok(names.map(str::to_owned).collect())
}

fn holds(binary: &[u8], text: &str) -> bool {
    binary.windows(text.len()).any(|at| at == text.as_bytes())
}

#[test]
fn the_command_holds_no_planted_bug() -> Result<()> {
    let names = names()?;
    ensure!(names.len() >= 36, "only {} names were read", names.len());
    let path = program()?;
    let binary = std::fs::read(&path).with_context(|| path.display().to_string())?;
    // It is the whole program, and its texts can be found in it.
    ensure!(
        holds(&binary, "the log cannot be written"),
        "{}",
        path.display()
    );
    // Each `mutant!` of a build that has them is spelled with this before its name.
    if holds(&binary, "planted-bug:") {
        let found = names
            .iter()
            .filter(|n| holds(&binary, &format!("planted-bug:{n}")));
        let found: Vec<_> = found.collect();
        anyhow::bail!("{} holds {found:?}", path.display());
    }
    Ok(())
}
