//! What the end-to-end tests share: real processes, real sockets, recorded typing.
#![allow(clippy::disallowed_methods)] // a harness outside the product, never simulated

pub mod archived;
pub mod author;
pub mod forge;
pub mod gaps;
pub mod hostile;
pub mod kills;
pub mod patience;
pub mod processes;
pub mod replay;
pub mod rest;
pub mod socket;
pub mod token;
pub mod traces;
pub mod travel;
pub mod typist;
