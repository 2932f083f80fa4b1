//! Where the changes of a program's edit belong in a document's text.

use std::collections::BTreeSet;

use codraft_ot::{Component, Content, Delta};
use codraft_proto::{
    reject::Code,
    v1::{self, TextChange, TextPlace},
};
use codraft_raft::command::Anchor;

use crate::wire;

/// Of a Markdown heading.
const HASHES_MAX: usize = 6;

/// A document's text, with U+FFFC for embeds.
pub(crate) struct Text {
    text: String,
    units: u32,
    /// Of a rich document: the line breaks, by their bytes, of lines that are headings.
    headings: Option<BTreeSet<usize>>,
}

impl Text {
    pub fn of(content: &Content, is_rich: bool) -> Text {
        Text {
            text: content.text(),
            units: content.units(),
            headings: is_rich.then(|| headings(&content.to_delta())),
        }
    }

    fn units_before(&self, byte: usize) -> u32 {
        units(&self.text[..byte])
    }

    /// The one place of a text, as bytes.
    fn only(&self, find: &str) -> Result<(usize, usize), v1::Problem> {
        let first = self.text.find(find).ok_or_else(|| no_match(find))?;
        let step = find.chars().next().map_or(1, char::len_utf8);
        match self.text[first + step..].contains(find) {
            true => Err(ambiguous(find)),
            false => Ok((first, first + find.len())),
        }
    }

    /// The one heading of these words, as the bytes of its line without the line break.
    fn heading(&self, find: &str) -> Result<(usize, usize), v1::Problem> {
        let (mut at, mut found) = (0, None);
        for line in self.text.split('\n') {
            let end = at + line.len();
            let words = match &self.headings {
                Some(headings) => headings.contains(&end).then_some(line),
                None => markdown_heading(line),
            };
            if words.is_some_and(|words| words.trim() == find.trim()) {
                if found.is_some() {
                    return Err(ambiguous(find));
                }
                found = Some((at, end));
            }
            at = end + 1;
        }
        found.ok_or_else(|| no_match(find))
    }
}

/// What is to be inserted and deleted at one place.
struct Splice {
    at: u32,
    delete: u32,
    insert: String,
}

/// The changes of one edit that were found.
#[derive(Default)]
pub(crate) struct Places {
    splices: Vec<Splice>,
    anchors: Vec<Anchor>,
}

impl Places {
    /// # Errors
    /// `no_match`, `ambiguous`; `malformed` for a change that says nothing.
    pub fn add(&mut self, text: &Text, change: &TextChange) -> Result<(), v1::Problem> {
        let place = TextPlace::try_from(change.place);
        let place = place.map_err(|_| wire::problem(Code::Unsupported, "place of a change"))?;
        let is_end = place == TextPlace::Append;
        if change.find.is_empty() != is_end {
            return Err(wire::problem(Code::Malformed, "a change names a text"));
        }
        let mut insert = change.text.clone();
        let (at, delete) = match place {
            // A rich document ends with a line break, which stays its last.
            TextPlace::Append => (text.units - u32::from(text.headings.is_some()), 0),
            TextPlace::AfterHeading => {
                let (start, end) = text.heading(&change.find)?;
                let anchor = self.anchor(text, start, end);
                let has_break = end < text.text.len();
                match has_break {
                    true if !insert.ends_with('\n') => insert.push('\n'),
                    true => {}
                    false => insert.insert(0, '\n'),
                }
                (anchor.start + anchor.units + u32::from(has_break), 0)
            }
            TextPlace::Replace | TextPlace::Before | TextPlace::After => {
                let (start, end) = text.only(&change.find)?;
                let anchor = self.anchor(text, start, end);
                match place {
                    TextPlace::Before => (anchor.start, 0),
                    TextPlace::After => (anchor.start + anchor.units, 0),
                    _ => (anchor.start, anchor.units),
                }
            }
        };
        self.splices.push(Splice { at, delete, insert });
        Ok(())
    }

    fn anchor(&mut self, text: &Text, start: usize, end: usize) -> Anchor {
        let anchor = Anchor {
            start: text.units_before(start),
            units: units(&text.text[start..end]),
        };
        self.anchors.push(anchor);
        anchor
    }

    /// All of it as one operation, and what nobody may have touched.
    ///
    /// # Errors
    /// `malformed` where two changes want the same text.
    pub fn finish(mut self) -> Result<(Delta, Vec<Anchor>), v1::Problem> {
        // What is inserted at one place stays in the order of the request.
        self.splices
            .sort_by_key(|splice| (splice.at, splice.delete));
        let (mut delta, mut at) = (Delta::new(), 0);
        for splice in &self.splices {
            let kept = splice.at.checked_sub(at);
            let kept = kept.ok_or_else(|| wire::problem(Code::Malformed, "two changes overlap"))?;
            delta.retain(kept);
            delta.insert(&splice.insert).delete(splice.delete);
            at = splice.at + splice.delete;
        }
        Ok((delta, self.anchors))
    }
}

fn units(text: &str) -> u32 {
    text.chars().map(|c| c.len_utf16() as u32).sum()
}

fn headings(document: &Delta) -> BTreeSet<usize> {
    let (mut at, mut headings) = (0, BTreeSet::new());
    for component in document.components() {
        let Component::Insert {
            text, attributes, ..
        } = component
        else {
            at += '\u{FFFC}'.len_utf8();
            continue;
        };
        let fields = attributes.as_ref().map(|attributes| attributes.iter());
        if fields
            .into_iter()
            .flatten()
            .any(|(name, _)| name == "header")
        {
            headings.extend(text.match_indices('\n').map(|(byte, _)| at + byte));
        }
        at += text.len();
    }
    headings
}

/// What a line says, if it is a Markdown heading.
fn markdown_heading(line: &str) -> Option<&str> {
    let words = line.trim_start_matches('#');
    let hashes = line.len() - words.len();
    let is_heading = (1..=HASHES_MAX).contains(&hashes) && words.starts_with(' ');
    is_heading.then_some(words)
}

fn no_match(find: &str) -> v1::Problem {
    wire::problem(Code::NoMatch, format!("{} is not there", short(find)))
}

fn ambiguous(find: &str) -> v1::Problem {
    let text = format!("{} is there more than once", short(find));
    wire::problem(Code::Ambiguous, text)
}

/// Enough of it to know which is meant.
fn short(find: &str) -> String {
    const CHARS: usize = 40;
    let mut words: String = find.chars().take(CHARS).collect();
    if words.len() < find.len() {
        words.push('…');
    }
    format!("{words:?}")
}
