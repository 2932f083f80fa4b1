//! Two ways of counting that are never mixed up: events of a document, operations of a client.

use std::{
    fmt,
    ops::{Add, AddAssign},
};

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl Add<u64> for $name {
            type Output = Self;
            fn add(self, more: u64) -> Self {
                Self(self.0 + more)
            }
        }
        impl AddAssign<u64> for $name {
            fn add_assign(&mut self, more: u64) {
                self.0 += more;
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

count!(
    /// A state of a document, by how many events it has had: 1 is its creation.
    Revision
);
count!(
    /// An operation of a client, by how many it has made of that document: 1 is its first.
    Seq
);
