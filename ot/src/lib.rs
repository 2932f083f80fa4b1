//! The algebra of Codraft: operations on text and rich text, and what keeps them together.
//!
//! Algebra `delta-1`: the results equal npm `quill-delta` 5.1 in canonical form. Lengths count
//! UTF-16 code units. Pure: no clock, no randomness, no runtime, no serialization framework.

pub mod attributes;
mod authors;
mod branch;
mod chain;
pub mod client;
mod codec;
mod compose;
mod content;
mod cursor;
mod diff;
mod error;
mod invert;
mod late;
mod limits;
mod numbers;
mod op;
mod packed;
mod runs;
mod steps;
mod transform;
pub mod value;
pub mod varint;

pub use attributes::{AttributeMap, Attributes, Attrs};
pub use authors::Authors;
pub use branch::Branch;
pub use chain::Chain;
pub use client::ClientDocument;
pub use codec::Components;
pub use content::{Content, Digesting, Encoding, Kind};
pub use diff::Diff;
pub use error::OpError;
pub use late::Late;
pub use limits::Limits;
pub use numbers::{Revision, Seq};
pub use op::{Component, Delta};
pub use steps::only_deletes;
pub use value::{Embed, Fields, Items, Value, ValueRef};

/// The name of this algebra, as documents carry it.
pub const ALGEBRA: &str = "delta-1";
