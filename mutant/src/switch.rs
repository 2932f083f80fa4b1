//! Which planted bug is on.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::ALL;

const PREFIX: &str = "planted-bug:";

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    pub name: &'static str,
    /// What is wrong while it is on.
    pub what: &'static str,
    /// Oracles that may catch it, the likeliest first.
    pub expect: &'static [&'static str],
}

/// Why a bug was not activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    Unknown(String),
    /// One is on already, and may have done its work.
    Second(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no planted bug is called {name:?}"),
            Self::Second(first) => write!(f, "{first:?} is on in this process already"),
        }
    }
}

impl std::error::Error for Refused {}

static ACTIVE: OnceLock<&'static str> = OnceLock::new();
static REACHED: AtomicU64 = AtomicU64::new(0);

/// Turns a bug on, for as long as the process lives.
///
/// # Errors
/// When there is none of that name, or one is on already.
pub fn activate(name: &str) -> Result<(), Refused> {
    let known = ALL.iter().find(|mutant| mutant.name == name);
    let mutant = known.ok_or_else(|| Refused::Unknown(name.to_owned()))?;
    ACTIVE
        .set(mutant.name)
        .map_err(|_| Refused::Second(ACTIVE.get().copied().unwrap_or_default()))
}

/// Whether the bug is on; counts when it is. `name`: with the macro's prefix.
pub fn active(name: &'static str) -> bool {
    let on = ACTIVE
        .get()
        .is_some_and(|active| name.strip_prefix(PREFIX) == Some(*active));
    if on {
        REACHED.fetch_add(1, Ordering::Relaxed);
    }
    on
}

/// How often the bug that is on was asked for.
pub fn reached() -> u64 {
    REACHED.load(Ordering::Relaxed)
}
