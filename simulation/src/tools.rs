//! Everything that plays many simulations and shows them to people.
//!
//! A simulation is a process of its own; these only start them ([`processes`]) and read the
//! verdict that each prints. Nothing in here is itself simulated: it may use threads, files and
//! the wall clock.
#![allow(clippy::disallowed_methods)] // the harness: its own files, threads and wall time

pub mod figures;
pub mod meta;
pub mod mutants;
pub mod report;
pub mod scenarios;
pub mod seeds;
pub mod shrink;
pub mod soak;

mod bugs;
mod campaigns;
mod difference;
mod minimize;
mod pool;
mod processes;
mod progress;
mod readme;
mod tally;
mod words;

pub use processes::CANNOT;
