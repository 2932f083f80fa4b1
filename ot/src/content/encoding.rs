//! A document's binary form, written in steps: the largest take long, and the writer may have
//! other work to do in between.

use std::borrow::Cow;

use codraft_mutant::cost::{Work, spend};
use crop::iter::Chunks;
use sha2::{Digest, Sha256};

use super::{Content, Kind};
use crate::{
    codec,
    cursor::byte_of,
    runs::{self, Piece, Style},
};

/// So much is written in one step: some hundred microseconds.
const STEP_BYTES: usize = 128 << 10;
const STEP_RUNS: usize = 2_048;

/// Where the writing of a document stands.
pub struct Encoding<'a> {
    pieces: Pieces<'a>,
    /// Of the component that was begun: bytes of its text to come, and what follows them.
    left: usize,
    end: Cow<'a, [u8]>,
}

impl<'a> Encoding<'a> {
    pub(super) fn new(content: &'a Content) -> Self {
        Self {
            pieces: Pieces::of(content),
            left: 0,
            end: Cow::Borrowed(&[]),
        }
    }

    /// Appends some more. Returns true once it is whole.
    pub fn step(&mut self, out: &mut Vec<u8>) -> bool {
        let full = out.len() + STEP_BYTES;
        for _ in 0..STEP_RUNS {
            if self.left == 0 && !self.begin(out) {
                return true;
            }
            let most = self.left.min(full.saturating_sub(out.len()));
            let text = |part: &str| out.extend_from_slice(part.as_bytes());
            self.left -= self.pieces.take(most, text);
            if self.left > 0 {
                return false;
            }
            out.extend_from_slice(&std::mem::take(&mut self.end));
            if out.len() >= full {
                return false;
            }
        }
        false
    }

    /// Begins the next component. Returns false behind the last.
    fn begin(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((style, bytes)) = self.pieces.next() else {
            return false;
        };
        if style.is_embed() {
            self.pieces.take(bytes, |_| {});
            codec::put_embed(out, style.embed, &style.attributes);
        } else {
            self.left = bytes;
            if codec::put_insert_head(out, bytes, &style.attributes) {
                self.end = style.attributes;
            }
        }
        true
    }
}

/// [`Content::digest`], made in the same steps: the binary form is never there as a whole.
pub struct Digesting<'a> {
    encoding: Encoding<'a>,
    part: Vec<u8>,
    hash: Sha256,
}

impl<'a> Digesting<'a> {
    pub(super) fn new(content: &'a Content) -> Self {
        Self {
            encoding: Encoding::new(content),
            part: Vec::new(),
            hash: Sha256::new(),
        }
    }

    /// Takes in some more; the digest once it is whole.
    pub fn step(&mut self) -> Option<[u8; 32]> {
        self.part.clear();
        let is_whole = self.encoding.step(&mut self.part);
        self.hash.update(&self.part);
        is_whole.then(|| self.hash.finalize_reset().into())
    }
}

/// A document's stretches of one style, and their text.
pub(super) struct Pieces<'a> {
    content: &'a Content,
    runs: runs::Iter<'a>,
    /// Of a plain document: its only stretch is not passed.
    is_new: bool,
    /// Up to the end of the stretch that was begun.
    units: u32,
    chunks: Chunks<'a>,
    /// Of the chunk that was begun, and what of all text was taken, in bytes.
    rest: &'a str,
    at: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(content: &'a Content) -> Self {
        Self {
            content,
            runs: content.runs.iter(),
            is_new: true,
            units: 0,
            chunks: content.rope.chunks(),
            rest: "",
            at: 0,
        }
    }

    /// The next stretch's style and the bytes of its text, which is to be taken next.
    pub(super) fn next(&mut self) -> Option<(Style<'a>, usize)> {
        let Piece { units, style } = match self.content.kind {
            Kind::Rich => self.runs.next()?,
            Kind::Text if std::mem::take(&mut self.is_new) => Piece {
                units: self.content.units(),
                style: Style::default(),
            },
            Kind::Text => return None,
        };
        spend(Work::Spelled, 1);
        self.units += units;
        self.fill();
        // Mostly it ends in this chunk, and the rope need not be asked.
        let bytes = byte_of(self.rest, units)
            .unwrap_or_else(|| self.content.byte_of(self.units).saturating_sub(self.at));
        (bytes > 0).then_some((style, bytes))
    }

    /// Takes so many bytes of text, or fewer where that would split a character. Returns how many
    /// they were.
    pub(super) fn take(&mut self, bytes: usize, mut with: impl FnMut(&str)) -> usize {
        let before = self.at;
        while self.at - before < bytes && self.fill() {
            let (part, rest) = self
                .rest
                .split_at(self.rest.floor_char_boundary(bytes - (self.at - before)));
            if part.is_empty() {
                break;
            }
            with(part);
            self.rest = rest;
            self.at += part.len();
        }
        spend(Work::Bytes, self.at - before);
        self.at - before
    }

    /// Returns false at the end of the text.
    fn fill(&mut self) -> bool {
        if self.rest.is_empty() {
            self.rest = self.chunks.next().unwrap_or_default();
        }
        !self.rest.is_empty()
    }
}
