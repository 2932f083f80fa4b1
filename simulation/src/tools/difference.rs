//! Where two texts first part, line by line. They may be too long to hold.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;

/// Lines kept before the first that differs, and from there on.
const BEFORE: usize = 6;
const FROM: usize = 4;
/// What is longer says no more to people.
const WIDEST: usize = 400;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The first line that differs, counted from 1.
    pub line: u64,
    /// Some lines before it, the same in both.
    pub before: Vec<String>,
    /// From that line on; empty where the text ends there.
    pub left: Vec<String>,
    pub right: Vec<String>,
}

pub fn of_files(left: &Path, right: &Path) -> Result<Option<Difference>> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
        anyhow::Ok(lines(BufReader::new(file)))
    };
    Ok(first_difference(open(left)?, open(right)?))
}

fn lines(reader: impl BufRead) -> impl Iterator<Item = String> {
    reader
        .split(b'\n')
        .map_while(Result::ok)
        .map(|line| String::from_utf8_lossy(&line).into_owned())
}

pub fn first_difference(
    mut left: impl Iterator<Item = String>,
    mut right: impl Iterator<Item = String>,
) -> Option<Difference> {
    let mut before = VecDeque::with_capacity(BEFORE);
    let mut line = 0;
    loop {
        line += 1;
        let (a, b) = (left.next(), right.next());
        if a != b {
            let from = |first: Option<String>, rest: &mut dyn Iterator<Item = String>| {
                let rest = rest.take(FROM - 1);
                first.into_iter().chain(rest).map(cut).collect()
            };
            return Some(Difference {
                line,
                before: before.into_iter().map(cut).collect(),
                left: from(a, &mut left),
                right: from(b, &mut right),
            });
        }
        let same = a?;
        if before.len() == BEFORE {
            before.pop_front();
        }
        before.push_back(same);
    }
}

fn cut(line: String) -> String {
    match line.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the first difference is in line {}:", self.line)?;
        for line in &self.before {
            writeln!(f, "    {line}")?;
        }
        let end = vec!["(ends here)".to_owned()];
        let or_end = |lines: &Vec<String>| match lines.is_empty() {
            true => end.clone(),
            false => lines.clone(),
        };
        for line in or_end(&self.left) {
            writeln!(f, "  - {line}")?;
        }
        for line in or_end(&self.right) {
            writeln!(f, "  + {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(left: &str, right: &str) -> Option<Difference> {
        first_difference(lines(left.as_bytes()), lines(right.as_bytes()))
    }

    #[test]
    fn the_first_line_that_differs_is_found_with_what_led_there() {
        let common: String = (0..20).map(|n| format!("line {n}\n")).collect();
        let found = between(&format!("{common}a\nx\n"), &format!("{common}b\nx\n"));
        let found = found.expect("they differ");
        assert_eq!(found.line, 21);
        assert_eq!(found.before.first().map(String::as_str), Some("line 14"));
        assert_eq!(found.left, ["a", "x"]);
        assert_eq!(found.right, ["b", "x"]);
        assert!(found.to_string().contains("line 21"));
    }

    #[test]
    fn one_that_ends_early_differs_and_the_same_does_not() {
        let found = between("a\nb\n", "a\n").expect("they differ");
        assert_eq!((found.line, found.right.len()), (2, 0));
        assert_eq!(between("a\nb\n", "a\nb\n"), None);
        assert_eq!(between("", ""), None);
    }
}
