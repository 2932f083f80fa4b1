//! Planted bugs: single lines in the product that are wrong on purpose, to prove that the
//! simulation finds them.
//!
//! `mutant!("name")` is `false` in every build but one with `--cfg codraft_mutants`; there it
//! asks whether the bug of that name is the one that was activated. So product code reads
//! `if enough && !mutant!("name")`: put it last, since an answer of `true` counts as *reached*.

pub mod cost;
#[cfg(any(test, codraft_mutants))]
mod list;
#[cfg(any(test, codraft_mutants))]
mod switch;

#[cfg(test)]
mod tests;

#[cfg(any(test, codraft_mutants))]
pub use list::ALL;
#[cfg(any(test, codraft_mutants))]
pub use switch::{Mutant, Refused, activate, active, reached};

/// Whether the planted bug of this name is on.
#[cfg(not(codraft_mutants))]
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}

/// Whether the planted bug of this name is on. The prefix is what a test looks for in binaries.
#[cfg(codraft_mutants)]
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::active(::core::concat!("planted-bug:", $name))
    };
}
