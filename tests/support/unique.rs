//! Names that no other test uses, in this run or any other on the same broker.

use std::hash::{BuildHasher as _, RandomState};

/// `name` with a random ending: every test has its own topics and groups.
pub fn unique(name: &str) -> String {
    format!("{name}-{:010x}", random() & 0xff_ffff_ffff)
}

/// A random number for names and ports; what a seed must reproduce does not come from here.
pub(crate) fn random() -> u64 {
    // Each `RandomState` has fresh keys, so the hash of nothing is random.
    RandomState::new().hash_one(())
}
