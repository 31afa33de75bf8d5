//! Which assignment of a partition something belongs to.
//!
//! Every assignment, seek and log reset gets a new one; whatever carries an older one is void.

use std::fmt;

/// The generation of a partition's assignment within this process. Only ever goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Epoch(u64);

impl Epoch {
    pub(crate) const FIRST: Self = Self(1);

    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
