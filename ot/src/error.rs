//! Why an operation is refused. Nothing here panics on what a client sent.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpError {
    /// The bytes are not an operation.
    Malformed,
    /// A count of zero (or what was meant as a negative one).
    ZeroCount,
    /// Lengths do not fit 32 bits.
    Overflow,
    /// Retains and deletes do not fit the document.
    LengthMismatch {
        document: u32,
        operation: u64,
    },
    /// A position between the halves of a surrogate pair.
    SplitSurrogate {
        position: u32,
    },
    TooManyComponents {
        most: usize,
    },
    TooManyAttributes {
        most: usize,
    },
    AttributeTooLarge {
        most_bytes: usize,
    },
    /// A name that every object of JavaScript has.
    ReservedAttribute,
    TooDeep {
        most: usize,
    },
    EmbedTooLarge {
        most_bytes: usize,
    },
    /// The document would grow above its limit.
    DocumentTooLong {
        most_units: u32,
    },
    /// Its attributes and embeds would.
    DocumentTooRich {
        most_bytes: usize,
    },
    /// Attributes or embeds in a plain text.
    NotPlain,
    /// A rich text keeps its last line break.
    LastLine,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "these bytes are not an operation"),
            Self::ZeroCount => write!(f, "a retain, insert or delete counts at least one"),
            Self::Overflow => write!(f, "the lengths of the operation are too large"),
            Self::LengthMismatch {
                document,
                operation,
            } => {
                write!(
                    f,
                    "the operation is for {operation} units, the document has {document}"
                )
            }
            Self::SplitSurrogate { position } => {
                write!(f, "position {position} is inside a surrogate pair")
            }
            Self::TooManyComponents { most } => write!(f, "more than {most} components"),
            Self::TooManyAttributes { most } => write!(f, "more than {most} attributes"),
            Self::AttributeTooLarge { most_bytes } => {
                write!(f, "an attribute is larger than {most_bytes} bytes")
            }
            Self::ReservedAttribute => {
                write!(
                    f,
                    "an attribute has a name that means something in JavaScript"
                )
            }
            Self::TooDeep { most } => write!(f, "values nest deeper than {most}"),
            Self::EmbedTooLarge { most_bytes } => {
                write!(f, "an embed is larger than {most_bytes} bytes")
            }
            Self::DocumentTooLong { most_units } => {
                write!(f, "the document would be longer than {most_units} units")
            }
            Self::DocumentTooRich { most_bytes } => {
                write!(
                    f,
                    "the document's attributes and embeds would be more than {most_bytes} bytes"
                )
            }
            Self::NotPlain => write!(f, "a plain text has no attributes and no embeds"),
            Self::LastLine => write!(f, "the last line break of a rich text stays last"),
        }
    }
}

impl std::error::Error for OpError {}
