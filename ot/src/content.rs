//! A document: a rope of text in UTF-16 units, with runs of attributes where it is rich.

mod encoding;

use std::borrow::Cow;

use codraft_mutant::{
    cost::{Work, spend},
    mutant,
};
use crop::Rope;

use crate::{Component, Delta, Embed, Limits, OpError, codec::Recent, op::units_of, runs::Runs};
use encoding::Pieces;
pub use encoding::{Digesting, Encoding};

/// What sort of document it is; fixed when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Plain: no attributes, no embeds. Starts empty.
    Text = 1,
    /// With attributes and embeds. Starts as one line break, which always stays last.
    Rich = 2,
}

impl Kind {
    pub fn from_number(n: u32) -> Option<Kind> {
        match n {
            1 => Some(Kind::Text),
            2 => Some(Kind::Rich),
            _ => None,
        }
    }
}

/// Stands in the rope for an embed, one unit long.
const EMBED: &str = "\u{FFFC}";

/// A leaf of the rope: its buffer of 2 KiB and its node, with a share of the nodes above.
const ROPE_LEAF_BYTES: usize = 2_048 + 16 + 192;
/// How much text a leaf holds: all of its buffer in a new document, a half and more in one that was
/// edited here and there, a quarter at least.
const ROPE_LEAF_TEXT_BYTES: usize = 1_660;

/// Of a plain document's only component.
const HEAD_BYTES: usize = 5;

/// The content of a document. Clones share their text.
#[derive(Clone)]
pub struct Content {
    kind: Kind,
    rope: Rope,
    /// Of a rich document, covering it without a gap; empty for a plain one.
    runs: Runs,
    /// Whether the whole rope is ASCII, where a unit is a byte.
    ascii: bool,
}

impl Content {
    pub fn new(kind: Kind) -> Content {
        match kind {
            Kind::Text => Content {
                kind,
                rope: Rope::new(),
                runs: Runs::default(),
                ascii: true,
            },
            Kind::Rich => Content {
                kind,
                rope: Rope::from("\n"),
                runs: Runs::of_line_break(),
                ascii: true,
            },
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// In UTF-16 code units.
    pub fn units(&self) -> u32 {
        if self.ascii {
            self.rope.byte_len() as u32
        } else {
            self.rope.utf16_len() as u32
        }
    }

    /// The text, with U+FFFC for embeds.
    pub fn text(&self) -> String {
        self.rope.to_string()
    }

    /// Applies an operation made for exactly this content.
    ///
    /// # Errors
    /// All is checked first: on an error nothing has changed.
    pub fn apply(&mut self, delta: &Delta, limits: &Limits) -> Result<(), OpError> {
        self.check(delta, limits)?;
        spend(Work::Applied, delta.components().len());
        if self.kind == Kind::Rich {
            self.runs = self.runs.after(delta, limits)?;
        }
        let mut byte = 0;
        let mut at = 0u32;
        let mut components = delta.components();
        while let Some(component) = components.first() {
            match component {
                Component::Retain { units, .. } => {
                    at += units;
                    byte = self.byte_of(at);
                }
                Component::Delete { units } => {
                    let end = self.byte_of(at + units);
                    self.rope.delete(byte..end);
                }
                // The rope is cut once for all that goes in at one place.
                Component::Insert { .. } | Component::Embed { .. } => {
                    let inserts = components.iter().take_while(|c| c.is_insert()).count();
                    let (here, rest) = components.split_at(inserts);
                    let text = joined(here);
                    self.rope.insert(byte, &*text);
                    self.ascii &= text.is_ascii();
                    byte += text.len();
                    at += here.iter().map(Component::units).sum::<u32>();
                    components = rest;
                    continue;
                }
            }
            components = &components[1..];
        }
        Ok(())
    }

    fn check(&self, delta: &Delta, limits: &Limits) -> Result<(), OpError> {
        let units = self.units();
        let operation = delta.base_units();
        if operation > u64::from(units) {
            return Err(OpError::LengthMismatch {
                document: units,
                operation,
            });
        }
        if i64::from(units) + delta.growth() > i64::from(limits.document_units) {
            return Err(OpError::DocumentTooLong {
                most_units: limits.document_units,
            });
        }
        if delta.components().len() > limits.components {
            return Err(OpError::TooManyComponents {
                most: limits.components,
            });
        }
        match self.kind {
            Kind::Text if !delta.is_plain() => return Err(OpError::NotPlain),
            Kind::Rich => self.check_last_line(delta, units)?,
            Kind::Text => {}
        }
        if !self.ascii {
            let mut at = 0u32;
            for component in delta.components().iter().filter(|c| !c.is_insert()) {
                self.check_pair(at)?;
                at += component.units();
                self.check_pair(at)?;
            }
            self.check_pair(at)?;
        }
        Ok(())
    }

    fn check_pair(&self, at: u32) -> Result<(), OpError> {
        let byte = self.rope.byte_of_utf16_code_unit(at as usize);
        let splits = !self.rope.is_char_boundary(byte)
            || self.rope.utf16_code_unit_of_byte(byte) != at as usize;
        if splits && !mutant!("surrogate_split_accepted") {
            return Err(OpError::SplitSurrogate { position: at });
        }
        Ok(())
    }

    /// A rich document keeps its last line break, and nothing comes behind it.
    fn check_last_line(&self, delta: &Delta, units: u32) -> Result<(), OpError> {
        let mut at = 0u32;
        for component in delta.components() {
            match component {
                Component::Retain { units, .. } => at += units,
                Component::Delete { units: deleted } => {
                    at += deleted;
                    if at == units {
                        return Err(OpError::LastLine);
                    }
                }
                _ if at == units => return Err(OpError::LastLine),
                _ => {}
            }
        }
        Ok(())
    }

    fn byte_of(&self, unit: u32) -> usize {
        if self.ascii {
            unit as usize
        } else {
            self.rope.byte_of_utf16_code_unit(unit as usize)
        }
    }

    /// The document as the inserts that make it, in canonical form.
    pub fn to_delta(&self) -> Delta {
        let mut delta = Delta::new();
        let mut recent = Recent::default();
        let mut pieces = Pieces::of(self);
        while let Some((style, bytes)) = pieces.next() {
            let mut text = String::with_capacity(bytes);
            pieces.take(bytes, |part| text.push_str(part));
            let attributes = recent.share(&style.attributes);
            delta.push(match style.is_embed() {
                true => Component::Embed {
                    value: Embed::from_canonical(style.embed),
                    attributes,
                },
                false => Component::Insert {
                    units: units_of(&text),
                    text,
                    attributes,
                },
            });
        }
        delta
    }

    /// Appends the binary form of `to_delta`, without making it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoding = self.encoding();
        while !encoding.step(out) {}
    }

    /// Writes the same in steps.
    pub fn encoding(&self) -> Encoding<'_> {
        Encoding::new(self)
    }

    /// About as many bytes as `encode` writes. Costs nothing to ask.
    pub fn encoded_bytes(&self) -> usize {
        self.rope.byte_len() + self.runs.rich_bytes() as usize + HEAD_BYTES
    }

    /// What it takes in memory where no clone shares it, in bytes: exact for attributes and
    /// embeds, and for the text as full as a rope's leaves usually are. Costs nothing to ask.
    pub fn heap_bytes(&self) -> u64 {
        let leaves = self.rope.byte_len().div_ceil(ROPE_LEAF_TEXT_BYTES).max(1);
        (leaves * ROPE_LEAF_BYTES) as u64 + self.runs.heap_bytes()
    }

    /// From the inserts that make a document.
    ///
    /// # Errors
    /// As `apply`; `Malformed` where there is anything but inserts. What makes a rich document
    /// ends with a line break.
    pub fn from_delta(kind: Kind, delta: &Delta, limits: &Limits) -> Result<Content, OpError> {
        if !delta.components().iter().all(Component::is_insert) {
            return Err(OpError::Malformed);
        }
        let mut content = Content {
            kind: Kind::Text,
            rope: Rope::new(),
            runs: Runs::default(),
            ascii: true,
        };
        if kind == Kind::Rich {
            let ends_with_break = match delta.components().last() {
                Some(Component::Insert { text, .. }) => text.ends_with('\n'),
                _ => false,
            };
            if !ends_with_break {
                return Err(OpError::LastLine);
            }
        } else if !delta.is_plain() {
            return Err(OpError::NotPlain);
        }
        if delta.growth() > i64::from(limits.document_units) {
            return Err(OpError::DocumentTooLong {
                most_units: limits.document_units,
            });
        }
        content.kind = kind;
        if kind == Kind::Rich {
            content.runs = content.runs.after(delta, limits)?;
        }
        for component in delta.components() {
            let byte = content.rope.byte_len();
            match component {
                Component::Insert { text, .. } => {
                    content.rope.insert(byte, &**text);
                    content.ascii &= text.is_ascii();
                }
                _ => {
                    content.rope.insert(byte, EMBED);
                    content.ascii = false;
                }
            }
        }
        Ok(content)
    }

    /// SHA-256 of the canonical document: the binary form of `to_delta`.
    pub fn digest(&self) -> [u8; 32] {
        let mut digesting = self.digesting();
        loop {
            if let Some(digest) = digesting.step() {
                return digest;
            }
        }
    }

    /// The same in steps, between which others have their turn.
    pub fn digesting(&self) -> Digesting<'_> {
        Digesting::new(self)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("kind", &self.kind)
            .field("units", &self.units())
            .finish()
    }
}

/// The text of inserts side by side.
fn joined(inserts: &[Component]) -> Cow<'_, str> {
    match inserts {
        [one] => Cow::Borrowed(text_of(one)),
        all => all.iter().map(text_of).collect(),
    }
}

fn text_of(insert: &Component) -> &str {
    match insert {
        Component::Insert { text, .. } => text,
        _ => EMBED,
    }
}
