//! A leaf of the tree of runs: lengths, and the styles that they point to, packed.

use std::borrow::Cow;

use super::{NODE_BYTES, Sum, allocated};
use crate::{
    AttributeMap, Attrs, attributes,
    packed::{NO_ATTRIBUTES, put_varint, take, take_varint},
    value::Fields,
};

/// The most runs of a leaf.
const RUNS_MAX: usize = 64;
/// Styles that are looked for among those written last.
const RECENT_MAX: usize = 8;
/// Encoded bytes of a leaf's styles above which it is cut, so that a change copies little.
const STYLES_MAX_BYTES: usize = 2 << 10;
/// A run's share of its component's head in the binary form, and of its length here.
const RUN_BYTES: usize = 4;

/// What a run is besides long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Style<'a> {
    /// An embed's value in binary form; nothing for text.
    pub(crate) embed: &'a [u8],
    /// In binary form.
    pub(crate) attributes: Cow<'a, [u8]>,
}

impl Default for Style<'_> {
    fn default() -> Self {
        Style {
            embed: &[],
            attributes: Cow::Borrowed(NO_ATTRIBUTES),
        }
    }
}

impl<'a> Style<'a> {
    /// Of what is inserted. A removal of what is not there is nothing.
    pub(crate) fn new(embed: &'a [u8], attributes: &'a Attrs) -> Style<'a> {
        let bytes = attributes::bytes_of(attributes);
        let attributes = match attributes::has_null(bytes) {
            false => Cow::Borrowed(bytes),
            true => Cow::Owned(attributes::compose_bytes(NO_ATTRIBUTES, bytes, false)),
        };
        Style { embed, attributes }
    }

    pub(crate) fn with(&self, set: &AttributeMap) -> Style<'a> {
        let attributes = attributes::compose_bytes(&self.attributes, set.bytes(), false);
        Style {
            embed: self.embed,
            attributes: Cow::Owned(attributes),
        }
    }

    pub(crate) fn is_embed(&self) -> bool {
        !self.embed.is_empty()
    }

    pub(crate) fn attribute_count(&self) -> u64 {
        Fields::of(&self.attributes).left()
    }

    fn is_plain(&self) -> bool {
        !self.is_embed() && *self.attributes == *NO_ATTRIBUTES
    }

    fn write(&self, out: &mut Vec<u8>) {
        for blob in [self.embed, &self.attributes] {
            put_varint(out, blob.len() as u64);
            out.extend_from_slice(blob);
        }
    }

    /// Encoded bytes; none for plain text.
    fn len(&self) -> usize {
        match self.is_plain() {
            true => 0,
            false => self.embed.len() + self.attributes.len(),
        }
    }
}

/// A run, wherever it lies: a stretch of one style, or one embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// UTF-16 code units, at least 1.
    pub(crate) units: u32,
    pub(crate) style: Style<'a>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    units: u32,
    /// Where its style starts in `styles`, counted from 1; 0 for plain text.
    style: u32,
}

#[derive(Debug)]
pub(super) struct Leaf {
    runs: Box<[Run]>,
    /// `embed blob · attributes blob` each.
    styles: Box<[u8]>,
    rich_bytes: u64,
}

impl Leaf {
    pub(super) fn new<'p>(pieces: &'p [Piece<'_>]) -> Leaf {
        let mut styles = Vec::new();
        // A style that was written lately is not written again.
        let mut recent: Vec<(&'p Style<'_>, u32)> = Vec::with_capacity(RECENT_MAX);
        let mut rich_bytes = 0;
        let mut write = |style: &'p Style<'_>| {
            if let Some((_, at)) = recent.iter().find(|(other, _)| *other == style) {
                return *at;
            }
            let at = styles.len() as u32 + 1;
            style.write(&mut styles);
            if recent.len() == RECENT_MAX {
                recent.remove(0);
            }
            recent.push((style, at));
            at
        };
        let run = |Piece { units, style }: &'p Piece<'_>| {
            rich_bytes += (RUN_BYTES + style.len()) as u64;
            let style = if style.is_plain() { 0 } else { write(style) };
            Run {
                units: *units,
                style,
            }
        };
        Leaf {
            runs: pieces.iter().map(run).collect(),
            styles: styles.into(),
            rich_bytes,
        }
    }

    pub(super) fn sum(&self) -> Sum {
        let heap = allocated(NODE_BYTES)
            + allocated(size_of_val(&*self.runs))
            + allocated(self.styles.len());
        Sum {
            units: self.runs.iter().map(|run| run.units).sum(),
            rich_bytes: self.rich_bytes,
            heap_bytes: heap as u64,
        }
    }

    pub(super) fn pieces(&self) -> Pieces<'_> {
        Pieces {
            runs: self.runs.iter(),
            styles: &self.styles,
        }
    }

    fn is_small(&self) -> bool {
        self.runs.len() <= RUNS_MAX / 4 && self.styles.len() <= STYLES_MAX_BYTES / 4
    }

    /// Both as one, where both are small.
    pub(super) fn join(&self, next: &Leaf) -> Option<Leaf> {
        let both = || self.pieces().chain(next.pieces()).collect::<Vec<_>>();
        (self.is_small() && next.is_small()).then(|| Leaf::new(&both()))
    }
}

/// Makes leaves of runs: halves of what grew too large, so that the next insert at the same
/// place finds room.
pub(super) fn write(runs: &mut Vec<Piece<'_>>, mut each: impl FnMut(Leaf)) {
    let bytes: usize = runs.iter().map(|piece| piece.style.len()).sum();
    let parts = runs
        .len()
        .div_ceil(RUNS_MAX)
        .max(bytes.div_ceil(2 * STYLES_MAX_BYTES));
    if parts > 0 {
        let size = runs.len().div_ceil(parts);
        runs.chunks(size).map(Leaf::new).for_each(&mut each);
    }
    runs.clear();
}

pub(super) struct Pieces<'a> {
    runs: std::slice::Iter<'a, Run>,
    styles: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let run = self.runs.next()?;
        let style = style_at(self.styles, run.style).unwrap_or_default();
        Some(Piece {
            units: run.units,
            style,
        })
    }
}

fn style_at(styles: &[u8], at: u32) -> Option<Style<'_>> {
    let mut bytes = styles.get(at.checked_sub(1)? as usize..)?;
    let mut blob = || {
        let length = take_varint(&mut bytes)?;
        take(&mut bytes, length)
    };
    Some(Style {
        embed: blob()?,
        attributes: Cow::Borrowed(blob()?),
    })
}
