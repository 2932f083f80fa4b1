//! What makes one document of another: as little as can be found in bounded time, so that carets and
//! authors of all that is in both stay where they are.
//!
//! Lines are compared first, what differs of them by words, and what differs of those by characters.

use std::ops::Range;

use imara_diff::{Algorithm, InternedInput, Interner, Token};

use crate::{Attrs, Component, Delta, attributes::change, cursor::Cursor, op::units_of};

/// More pieces of a document than this are not compared in one step: such a part is replaced as a whole where
/// nothing larger could be told apart.
const PIECES_MAX: usize = 1 << 15;
/// An embed in a document's text. The sign itself may be in it too.
const EMBED: char = '\u{FFFC}';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    Lines,
    Words,
    Characters,
}

impl Grain {
    fn finer(self) -> Option<Grain> {
        match self {
            Self::Lines => Some(Self::Words),
            Self::Words => Some(Self::Characters),
            Self::Characters => None,
        }
    }

    /// Where the piece at the beginning of a text, which is not empty, ends. An embed's sign is a
    /// piece of its own.
    fn end(self, text: &str) -> usize {
        let mut chars = text.char_indices();
        let (_, first) = chars.next().unwrap_or_default();
        let stop = |(_, c): &(usize, char)| match self {
            _ if first == EMBED || *c == EMBED => true,
            Self::Lines => false,
            Self::Words => !first.is_alphanumeric() || !c.is_alphanumeric(),
            Self::Characters => true,
        };
        if self == Self::Lines
            && let Some(end) = text.find(['\n', EMBED])
        {
            return match end {
                0 => first.len_utf8(),
                _ if text[end..].starts_with(EMBED) => end,
                _ => end + 1,
            };
        }
        chars.find(stop).map_or(text.len(), |(end, _)| end)
    }
}

/// A piece of a document: text, or an embed's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part<'a> {
    Text(&'a str),
    Embed(&'a [u8]),
}

/// A document as one text, with a sign for each embed.
struct Side<'a> {
    components: &'a [Component],
    text: String,
    /// Where each embed stands in the text, and its value.
    embeds: Vec<(usize, &'a [u8])>,
}

impl<'a> Side<'a> {
    fn of(document: &'a Delta) -> Side<'a> {
        let (mut text, mut embeds) = (String::new(), Vec::new());
        for component in document.components() {
            match component {
                Component::Insert { text: more, .. } => text.push_str(more),
                Component::Embed { value, .. } => {
                    embeds.push((text.len(), value.bytes()));
                    text.push(EMBED);
                }
                Component::Retain { .. } | Component::Delete { .. } => {}
            }
        }
        Side {
            components: document.components(),
            text,
            embeds,
        }
    }

    /// Where the pieces begin, and where the last one ends; each gets a token, equal ones the same. None
    /// where there are too many.
    fn cut<'s>(
        &'s self,
        range: Range<usize>,
        grain: Grain,
        tokens: &mut Vec<Token>,
        interner: &mut Interner<Part<'s>>,
    ) -> Option<Vec<usize>> {
        let mut places = vec![range.start];
        let mut rest = &self.text[range.clone()];
        let mut embeds = self.embeds.partition_point(|(at, _)| *at < range.start);
        while !rest.is_empty() {
            if tokens.len() == PIECES_MAX {
                return None;
            }
            let at = range.end - rest.len();
            let (part, after) = rest.split_at(grain.end(rest));
            let embed = self.embeds.get(embeds).filter(|(place, _)| *place == at);
            tokens.push(interner.intern(match embed {
                Some((_, value)) => Part::Embed(value),
                None => Part::Text(part),
            }));
            places.push(at + part.len());
            embeds += usize::from(embed.is_some());
            rest = after;
        }
        Some(places)
    }
}

/// Bytes of one text, and what stands for them in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    before: Range<usize>,
    after: Range<usize>,
}

/// Two documents that are being compared, in steps: the largest take long.
pub struct Diff<'a> {
    before: Side<'a>,
    after: Side<'a>,
    /// To be compared, the first of the document last.
    todo: Vec<(Grain, Hunk)>,
    found: Vec<Hunk>,
}

impl<'a> Diff<'a> {
    /// Of documents as the inserts that make them.
    pub fn new(before: &'a Delta, after: &'a Delta) -> Diff<'a> {
        let (before, after) = (Side::of(before), Side::of(after));
        let (mut old, mut new) = (0..before.text.len(), 0..after.text.len());
        // A rich document's last line break stays what it is.
        if before.text.ends_with('\n') && after.text.ends_with('\n') {
            old.end -= 1;
            new.end -= 1;
        }
        // Most of them differ in one place.
        let (one, other) = (&before.text[old.clone()], &after.text[new.clone()]);
        let same = |(a, b): &(char, char)| a == b && *a != EMBED;
        let pairs = one.chars().zip(other.chars()).take_while(same);
        let begins: usize = pairs.map(|(c, _)| c.len_utf8()).sum();
        let (one, other) = (&one[begins..], &other[begins..]);
        let pairs = one.chars().rev().zip(other.chars().rev());
        let ends: usize = pairs.take_while(same).map(|(c, _)| c.len_utf8()).sum();
        let whole = Hunk {
            before: begins..old.end - ends,
            after: begins..new.end - ends,
        };
        Diff {
            todo: vec![(Grain::Lines, whole)],
            found: Vec::new(),
            before,
            after,
        }
    }

    /// Compares some more. Returns true once there is nothing left.
    pub fn step(&mut self) -> bool {
        match self.todo.pop() {
            Some((_, hunk)) if hunk.before.is_empty() && hunk.after.is_empty() => {}
            Some((_, hunk)) if hunk.before.is_empty() || hunk.after.is_empty() => {
                self.found.push(hunk);
            }
            Some((grain, hunk)) => self.compare(grain, hunk),
            None => {}
        }
        self.todo.is_empty()
    }

    fn compare(&mut self, grain: Grain, hunk: Hunk) {
        // Most pieces are there many times: what is held grows with those that differ.
        let mut interner = Interner::new(0);
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let Hunk { before, after } = hunk.clone();
        let before = self.before.cut(before, grain, &mut old, &mut interner);
        let after = self.after.cut(after, grain, &mut new, &mut interner);
        let (Some(before), Some(after)) = (before, after) else {
            self.found.push(hunk);
            return;
        };
        let input = InternedInput {
            before: old,
            after: new,
            interner,
        };
        let diff = imara_diff::Diff::compute(Algorithm::Myers, &input);
        let hunks = diff.hunks().map(|hunk| Hunk {
            before: before[hunk.before.start as usize]..before[hunk.before.end as usize],
            after: after[hunk.after.start as usize]..after[hunk.after.end as usize],
        });
        match grain.finer() {
            Some(finer) => {
                let hunks: Vec<_> = hunks.map(|hunk| (finer, hunk)).collect();
                self.todo.extend(hunks.into_iter().rev());
            }
            None => {
                let hunks: Vec<_> = hunks.collect();
                self.found.extend(hunks);
            }
        }
    }

    /// The operation that makes the one of the other, once all is compared.
    pub fn finish(mut self) -> Delta {
        while !self.step() {}
        let mut old = Cursor::new(self.before.components);
        let mut new = Cursor::new(self.after.components);
        let mut out = Delta::new();
        let mut at = 0;
        for hunk in &self.found {
            let kept = units_of(&self.before.text[at..hunk.before.start]);
            keep(&mut old, &mut new, kept, &mut out);
            let gone = units_of(&self.before.text[hunk.before.clone()]);
            pass(&mut old, gone, |_| {});
            let comes = units_of(&self.after.text[hunk.after.clone()]);
            pass(&mut new, comes, |piece| {
                out.push(piece);
            });
            out.delete(gone);
            at = hunk.before.end;
        }
        let kept = units_of(&self.before.text[at..]);
        keep(&mut old, &mut new, kept, &mut out);
        out.chop()
    }
}

/// Retains what is in both, with what changes of its attributes.
fn keep(old: &mut Cursor<'_>, new: &mut Cursor<'_>, mut units: u32, out: &mut Delta) {
    let none: Attrs = None;
    while units > 0 {
        let some = units.min(old.left()).min(new.left());
        let from = old.peek().map_or(&none, Component::attributes);
        let to = new.peek().map_or(&none, Component::attributes);
        out.push(Component::Retain {
            units: some,
            attributes: change(from, to),
        });
        // What is cut is taken as a piece, so that the cursor knows where its text goes on.
        pass(old, some, |_| {});
        pass(new, some, |_| {});
        units -= some;
    }
}

/// Takes the next units of a document. Pieces end between characters, so none cuts a pair.
fn pass(cursor: &mut Cursor<'_>, mut units: u32, mut take: impl FnMut(Component)) {
    while units > 0
        && let Ok(Some(piece)) = cursor.next(units)
    {
        units -= piece.units();
        take(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, Content, Kind, Limits, Value};

    fn diff(from: &Content, to: &Content) -> Delta {
        let (from, to) = (from.to_delta(), to.to_delta());
        Diff::new(&from, &to).finish()
    }

    fn text(text: &str) -> Content {
        let mut delta = Delta::new();
        delta.insert(text);
        Content::from_delta(Kind::Text, &delta, &Limits::default()).expect("a document")
    }

    #[test]
    fn what_is_in_both_stays() {
        let (from, to) = ("one two three\nfour\n", "one 2 three\nzero\nfour\n");
        let mut expected = Delta::new();
        expected
            .retain(4)
            .insert("2")
            .delete(3)
            .retain(6)
            .insert("\nzero");
        assert_eq!(diff(&text(from), &text(to)), expected);
        assert_eq!(diff(&text(from), &text(from)), Delta::new());
        let mut all = Delta::new();
        all.delete(19);
        assert_eq!(diff(&text(from), &text("")), all);
        // Within a word, and beside what takes two units.
        let mut expected = Delta::new();
        expected.retain(3).insert("tt").delete(1);
        assert_eq!(diff(&text("𝄞seen"), &text("𝄞stten")), expected);
    }

    #[test]
    fn attributes_change_where_the_text_is_the_same() {
        let bold = || Attributes::from([("bold".into(), Value::Bool(true))]);
        let size = |n: f64| Attributes::from([("size".into(), Value::Number(n))]);
        let embed = |n: f64| Value::Object([("image".into(), Value::Number(n))].into());
        let (mut from, mut to) = (Delta::new(), Delta::new());
        from.insert_with("abc", bold())
            .insert("def")
            .embed(embed(1.0), size(1.0))
            .insert("\u{FFFC}\n");
        to.insert("ab")
            .insert_with("cdef", size(2.0))
            .embed(embed(2.0), size(1.0))
            .insert("\u{FFFC}\n");
        let make =
            |delta| Content::from_delta(Kind::Rich, delta, &Limits::default()).expect("rich");
        let (mut from, to) = (make(&from), make(&to));
        let change = diff(&from, &to);
        let not_bold = Attributes::from([("bold".into(), Value::Null)]);
        let mut expected = Delta::new();
        expected.retain_with(2, not_bold.clone());
        let both = not_bold.into_iter().chain(size(2.0)).collect();
        expected.retain_with(1, both).retain_with(3, size(2.0));
        expected.embed(embed(2.0), size(1.0)).delete(1);
        assert_eq!(change, expected);
        from.apply(&change, &Limits::default()).expect("it fits");
        assert_eq!(from.to_delta(), to.to_delta());
    }
}
