//! What is checked in the sources themselves: modules of a crate form no circle, functions stay
//! short. Reads text that `cargo fmt` has laid out, which spares a parser.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;

use super::{root, sources};

const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer still, tests apart: theirs are tables. May only shrink.
const LONG_FUNCTIONS: &[&str] = &[
    "proto/src/frame/binary.rs server_body",
    "proto/src/frame/binary.rs server_of",
    "simulation/src/client/frames.rs take",
    "simulation/src/client/frames.rs welcome",
    "simulation/src/faults.rs begin",
    "simulation/src/marks.rs node",
    "simulation/src/oracles/convergence.rs reports",
    "simulation/src/oracles/history.rs applied",
    "simulation/src/oracles/permissions.rs see",
    "simulation/src/oracles/revisions.rs see",
    "simulation/src/plan/seed.rs fault",
    "simulation/src/taps.rs seen",
    "simulation/src/tools/soak.rs run",
    "tests/src/bin/codraft-kill.rs main",
    "tests/src/replay.rs write",
];

/// A package's folder and a module's first-level name; `lib` and `main` are left out, since a
/// crate's root names everything.
fn module(path: &Path) -> Option<(String, String)> {
    let inside = path.strip_prefix(root()).ok()?;
    let mut parts = inside.components().map(|part| part.as_os_str().to_str());
    let (package, src, first) = (parts.next()??, parts.next()??, parts.next()??);
    let first = first.strip_suffix(".rs").unwrap_or(first);
    let counts = src == "src" && !["lib", "main", "bin", "tests"].contains(&first);
    counts.then(|| (package.to_owned(), first.to_owned()))
}

/// The product's code of a file: nothing for a file of tests, and what is above the tests else.
fn code<'t>(path: &Path, text: &'t str) -> &'t str {
    let is_test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    let inside = path.strip_prefix(root()).unwrap_or(path);
    if inside.iter().skip(1).any(is_test) {
        return "";
    }
    text.split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
}

/// The first names of all paths below `crate::`, those of a list included.
fn named_below_crate(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line));
    let text: String = lines.collect::<Vec<_>>().join("\n");
    let name = |text: &str| -> String {
        let letters = text.trim_start().chars();
        letters
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = BTreeSet::new();
    for (at, path) in text.match_indices("crate::") {
        let rest = &text[at + path.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(name(rest));
            continue;
        };
        let (mut depth, mut entry) = (1, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                names.insert(name(&list[entry..]));
                entry = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

type Uses = BTreeMap<String, BTreeSet<String>>;

/// What the modules of each package use of each other.
fn modules() -> Result<BTreeMap<String, Uses>> {
    let mut packages: BTreeMap<String, Uses> = BTreeMap::new();
    let sources = sources()?;
    let named = sources.iter().filter_map(|(path, text)| {
        let text = code(path, text);
        Some((module(path)?, named_below_crate(text)))
    });
    for ((package, module), names) in named {
        let uses = packages
            .entry(package)
            .or_default()
            .entry(module)
            .or_default();
        uses.extend(names);
    }
    for uses in packages.values_mut() {
        let known: BTreeSet<String> = uses.keys().cloned().collect();
        for (module, used) in uses {
            used.retain(|name| name != module && known.contains(name));
        }
    }
    Ok(packages)
}

/// The modules that reach each other, and so themselves.
fn circles(uses: &Uses) -> BTreeSet<Vec<&str>> {
    let reached = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(module) = next.pop() {
            let used = uses.get(&module).into_iter().flatten();
            next.extend(used.filter(|used| seen.insert((*used).clone())).cloned());
        }
        seen
    };
    let reach: BTreeMap<&str, _> = uses.keys().map(|m| (m.as_str(), reached(m))).collect();
    let circle = |module: &str| -> Vec<&str> {
        let both = |(other, back): &(&&str, &BTreeSet<String>)| {
            reach[module].contains(**other) && back.contains(module)
        };
        reach.iter().filter(both).map(|(other, _)| *other).collect()
    };
    let circles = reach.keys().map(|module| circle(module));
    circles.filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn modules_of_a_package_form_no_circle() -> Result<()> {
    let packages = modules()?;
    let found: BTreeSet<(&str, Vec<&str>)> = packages
        .iter()
        .flat_map(|(name, uses)| circles(uses).into_iter().map(move |c| (name.as_str(), c)))
        .collect();
    assert_eq!(found, BTreeSet::new());
    Ok(())
}

/// Every function that has a body of several lines: file and name, and how many lines.
fn functions(path: &Path, text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let file = path.strip_prefix(root()).unwrap_or(path).display();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, name)) = line.split_once("fn ") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let is_word =
            |word: &str| ["const", "async", "unsafe"].contains(&word) || word.starts_with("pub");
        if !before.split_whitespace().all(is_word) || line.ends_with([';', '}']) {
            continue;
        }
        let at_its_end = |line: &&str| {
            let rest = line
                .get(indent..)
                .filter(|_| line[..indent].trim().is_empty());
            rest.is_some_and(|rest| rest == "}" || (rest.starts_with(')') && rest.ends_with(';')))
        };
        if let Some(length) = lines[at..].iter().position(at_its_end) {
            let name = name.split(['(', '<']).next().unwrap_or(name);
            found.push((format!("{file} {name}"), length + 1));
        }
    }
    found
}

#[test]
fn functions_stay_short() -> Result<()> {
    let sources = sources()?;
    let all = sources
        .iter()
        .flat_map(|(path, text)| functions(path, code(path, text)));
    let all: Vec<_> = all.collect();
    anyhow::ensure!(all.len() > 500, "only {} functions were found", all.len());
    let long = all.iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    let long: BTreeMap<&str, usize> = long.map(|(name, lines)| (name.as_str(), *lines)).collect();
    let known: BTreeSet<&str> = LONG_FUNCTIONS.iter().copied().collect();
    let new: Vec<_> = long
        .iter()
        .filter(|(name, _)| !known.contains(*name))
        .collect();
    assert!(
        new.is_empty(),
        "longer than {FUNCTION_LINES_MAX} lines: {new:#?}"
    );
    let gone: Vec<_> = known
        .iter()
        .filter(|name| !long.contains_key(*name))
        .collect();
    assert!(
        gone.is_empty(),
        "short by now, take them off the list: {gone:#?}"
    );
    Ok(())
}
